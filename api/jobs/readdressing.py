"""What is left of a job, judged for another model than the one that it was submitted for. Reads only."""

import uuid

from sqlalchemy.orm import Session

from api.http.errors import ConflictError, Findings
from api.submissions.item_checks import ItemChecks, ResolvedItem
from api.submissions.item_source import Place
from db.queries.models import RegisteredModel
from db.queries.open_items import open_items
from domain.preferences import EffectivePreference
from domain.sampling import Sampling


def refuse_what_does_not_fit(session: Session, job_id: uuid.UUID, model: RegisteredModel, max_characters: int) -> None:
    """Raise ConflictError with everything that the model cannot do for the items that have not ended.

    They are placed as in the job that was submitted, `/items/0` being its first item, in whatever form it came.
    """
    checks, findings = ItemChecks(model, max_characters), Findings()
    for position, messages, sampling, preference in open_items(session, job_id):
        item = ResolvedItem(
            messages,
            EffectivePreference.from_body(preference),
            Sampling.from_body(sampling),
            Place(prefix=f"/items/{position}"),
            text_pointer="",
        )
        findings.add(*checks.errors(item))
    if findings.num_errors:
        first = findings.shown[0]
        raise ConflictError(
            f"`{model.name}` cannot write what is left of this job: `{first.pointer}`: {first.message}",
            errors=findings.shown,
            num_errors=findings.num_errors,
        )
