"""From candidates to items with everything resolved, or to the reasons why not. Reads profiles; writes nothing."""

import uuid
from collections.abc import Iterator

from pydantic_core import to_json
from sqlalchemy.orm import Session

from api.guidance import Guidance, ModelDefaults
from api.inspection import Inspection
from api.item_checks import SETTINGS, ItemChecks, ResolvedItem
from api.item_source import Candidate, ItemSource
from api.job_schemas import Overrides
from api.settings import Settings
from db.preferences import EffectivePreference
from db.queries.items import NewItem
from db.queries.models import RegisteredModel
from db.sampling import Sampling

NOTHING: frozenset[str] = frozenset()


class Planner:
    """Resolves the items of one submission, for the model that will decode them."""

    def __init__(self, settings: Settings, tenant_id: uuid.UUID, source: ItemSource, model: RegisteredModel) -> None:
        self._settings = settings
        self._tenant_id = tenant_id
        self._source = source
        self._checks = ItemChecks(model, settings.max_prompt_characters)
        head = source.head
        self._guidance = Guidance(ModelDefaults.of(model.description), head.options.defaults, head.listener)

    def items(self, session: Session) -> Iterator[tuple[NewItem, EffectivePreference]]:
        """The items in order, each with its preference. After the last, raises all that was wrong with the job."""
        inspection = Inspection(self._settings.max_items)
        inspection.add(*self._source.head.errors)
        position = 0
        for candidate in self._source.candidates(session, self._tenant_id, inspection):
            preference_hash, preference = self._guidance.preference(candidate.own, candidate.profile)
            sampling, sampling_text = self._guidance.sampling_and_text(candidate.own, position)
            errors = self._checks.errors(_resolved(candidate, preference, sampling))
            if errors:
                inspection.add(*errors)
                continue
            profile, messages = candidate.profile, to_json(candidate.messages).decode()
            named = (candidate.custom_id, profile.user_id, profile.version)
            yield NewItem(position, *named, preference_hash, messages, sampling_text), preference
            position += 1
        inspection.conclude()


def _stated(own: Overrides) -> frozenset[str]:
    if SETTINGS.isdisjoint(own.model_fields_set):
        return NOTHING
    return frozenset(setting for setting in SETTINGS if getattr(own, setting) is not None)


def _resolved(candidate: Candidate, preference: EffectivePreference, sampling: Sampling) -> ResolvedItem:
    return ResolvedItem(
        candidate.messages,
        preference,
        sampling,
        candidate.place,
        candidate.text_pointer,
        stated=_stated(candidate.own),
    )
