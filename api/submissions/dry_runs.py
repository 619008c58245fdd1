"""Dry runs: a submission is judged and resolved as in earnest, counted, and forgotten. Reads only."""

import math
import uuid
from dataclasses import dataclass, field

from pydantic_core import from_json
from sqlalchemy.orm import Session

from api.jobs.schemas import HoldoutOut
from api.settings import Settings
from api.submissions.dry_run_schemas import DryRunOut
from api.submissions.item_source import ItemSource
from api.submissions.planning import Planner
from api.submissions.submission import Answer, audience_out, model_of
from db.queries import estimates
from db.queries.estimates import Ahead, PastTexts, Speed
from db.queries.items import NewItem
from db.queries.models import RegisteredModel
from db.session import Database

OK = 200
BYTES_PER_TOKEN = 4
"""Bytes of English text per token, roughly; other languages take more tokens."""


@dataclass(slots=True)
class Amounts:
    """How much the items of a job are."""

    num_items: int = 0
    num_prompt_bytes: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    """How many answers may have so many tokens."""

    def add(self, item: NewItem) -> None:
        """Add one item's lengths to the counts."""
        sampling = from_json(item.sampling)
        num_answers = estimates.answers_per_item(sampling)
        self.num_items += 1
        self.num_prompt_bytes += estimates.num_bytes_of(from_json(item.messages))
        self.answers[sampling["max_tokens"]] = self.answers.get(sampling["max_tokens"], 0) + num_answers

    @property
    def max_tokens(self) -> int:
        """As many as all answers may have together."""
        return sum(most * number for most, number in self.answers.items())

    def expected_tokens(self, mean: float) -> int:
        """As many as they have if each is of the mean length, or as long as it may be where that is less."""
        return math.ceil(sum(min(most, mean) * number for most, number in self.answers.items()))


@dataclass(frozen=True, slots=True)
class Known:
    """What an estimate is made of: the tenant's last texts, the workers' speed, and what is queued ahead."""

    past: PastTexts
    speed: Speed
    ahead: Ahead

    @property
    def mean_tokens(self) -> float | None:
        """Mean completion tokens of an answer; None where no earlier answer is known."""
        return self.past.num_completion_tokens / self.past.num_answers if self.past.num_answers else None


def rehearse(settings: Settings, database: Database, tenant_id: uuid.UUID, source: ItemSource) -> Answer:
    """What the job would be, or all that is wrong with it, as `submission.accept` would have it."""
    with database.glancing() as session:
        model = model_of(session, source)
        planner = Planner(settings, tenant_id, source, model)
        amounts = Amounts()
        for item, _ in planner.items(session):
            amounts.add(item)
        known = _known(session, tenant_id, source, model)
    return Answer(OK, _told(planner, model, amounts, known).model_dump(mode="json"))


def _known(session: Session, tenant_id: uuid.UUID, source: ItemSource, model: RegisteredModel) -> Known:
    return Known(
        estimates.past_texts(session, tenant_id, model.digest),
        estimates.speed(session, model=model.name, model_digest=model.digest),
        estimates.ahead_of_new(session, tenant_id, model.digest, source.head.options.priority),
    )


def _told(planner: Planner, model: RegisteredModel, amounts: Amounts, known: Known) -> DryRunOut:
    facts, audience = planner.facts, planner.inspection.audience
    prompt_tokens, prompt_basis = _prompt_tokens(model, amounts, known.past)
    expected, expected_basis = _completion_tokens(amounts, known)
    seconds, seconds_basis = _seconds(expected, known)
    holdout = facts.holdout and HoldoutOut(
        share=facts.holdout.share,
        seed=facts.holdout.seed,
        num_holdout=facts.num_holdout,
        num_guided=amounts.num_items - facts.num_holdout,
    )
    return DryRunOut(
        name=facts.name,
        model=model.name,
        model_digest=model.digest,
        num_items=amounts.num_items,
        holdout=holdout,
        audience=None if audience is None else audience_out(audience),
        prompt_tokens=prompt_tokens,
        prompt_tokens_basis=prompt_basis,
        max_completion_tokens=amounts.max_tokens,
        expected_completion_tokens=expected,
        expected_completion_tokens_basis=expected_basis,
        num_items_ahead=known.ahead.num_items,
        expected_seconds=seconds,
        expected_seconds_basis=seconds_basis,
    )


def _prompt_tokens(model: RegisteredModel, amounts: Amounts, past: PastTexts) -> tuple[int, str]:
    if past.num_prompt_bytes and past.num_prompt_tokens:
        rate = past.num_prompt_bytes / past.num_prompt_tokens
        basis = f"An estimate by your last {past.num_answers} texts: {rate:.2f} bytes of prompt a token."
        return math.ceil(amounts.num_prompt_bytes / rate), basis
    template = model.description.num_template_tokens * amounts.num_items
    basis = f"An estimate: no text of yours tells yet, so {BYTES_PER_TOKEN} bytes a token, and the chat template."
    return math.ceil(amounts.num_prompt_bytes / BYTES_PER_TOKEN) + template, basis


def _completion_tokens(amounts: Amounts, known: Known) -> tuple[int | None, str]:
    mean = known.mean_tokens
    if mean is None:
        return None, "Not known: this model has written no text for you yet."
    basis = f"Your last {known.past.num_answers} texts of this model have {mean:.0f} tokens each."
    return amounts.expected_tokens(mean), basis


def _seconds(expected: int | None, known: Known) -> tuple[int | None, str]:
    speed, mean = known.speed, known.mean_tokens
    if not speed.num_ready:
        return None, "Not known: no worker serves this model now."
    if speed.tokens_per_second is None:
        return None, "Not known: the workers have not written enough to be measured yet."
    if expected is None or mean is None:
        return None, "Not known: it is not known how much will be written."
    num_tokens = expected + known.ahead.num_items * mean
    basis = f"Measured: {speed.tokens_per_second:.0f} tokens a second."
    if known.ahead.num_items:
        basis += f" {known.ahead.num_items} items of your jobs go first."
    if known.ahead.has_others:
        basis += " Other tenants share the workers, so it takes longer than this."
    return math.ceil(num_tokens / speed.tokens_per_second), basis
