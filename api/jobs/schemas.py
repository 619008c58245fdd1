"""What a job looks like on the wire, going in and coming out. Shapes only: no defaults, no precedence, no query."""

import datetime as dt
import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.http.bounds import ModelName
from api.jobs.sampling_schemas import SamplingFields
from api.jobs.schedule_schemas import ScheduleFields
from api.profiles.schemas import (
    MAX_METADATA,
    MAX_PRINCIPLES,
    Examples,
    MaxKl,
    MetadataKey,
    MetadataValue,
    PrincipleBody,
    StrictModel,
    UserId,
    as_principle,
    check_principles,
    check_text,
)
from domain.holdouts import MAX_SEED as MAX_HOLDOUT_SEED
from domain.preferences import MAX_STRENGTH, Method
from domain.priorities import Priority
from domain.states import ItemState, JobState

MAX_NAME_CHARACTERS = 128


def check_name(name: str) -> str:
    """A name of one line that people can see."""
    if name != name.strip() or not name.isprintable():
        raise PydanticCustomError("name", "A name has printable characters and no space at either end.")
    return check_text(name)


CustomId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Principles = Annotated[
    list[Annotated[PrincipleBody, BeforeValidator(as_principle, json_schema_input_type=str | PrincipleBody)]],
    Field(max_length=MAX_PRINCIPLES),
    AfterValidator(check_principles),
]
JobName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARACTERS), AfterValidator(check_name)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA)]


class Turn(StrictModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def ends_with_the_user(turns: list[Turn]) -> list[Turn]:
    """A conversation to which there is something to answer."""
    if turns[-1].role != "user":
        raise PydanticCustomError("last_turn_not_user", "The last message must be the user's.")
    if not turns[-1].content.strip():
        raise PydanticCustomError("blank_prompt", "The last message must not be blank.")
    return turns


def _not_blank(prompt: str) -> str:
    if not prompt.strip():
        raise PydanticCustomError("blank_prompt", "The prompt must not be blank.")
    return prompt


Prompt = Annotated[str, AfterValidator(_not_blank)]
Messages = Annotated[list[Turn], Field(min_length=1, fail_fast=True), AfterValidator(ends_with_the_user)]


class Overrides(SamplingFields):
    """Settings that an item or a job's `defaults` may state; what neither states comes from profile and system."""

    principles: Principles | None = Field(
        default=None, description="Instead of the profile's principles; an empty list means none."
    )
    method: Method | None = Field(default=None, strict=False)
    strength: float | None = Field(default=None, ge=0, le=MAX_STRENGTH, allow_inf_nan=False)
    max_kl: MaxKl | None = None
    examples: Examples | None = Field(
        default=None, description="Instead of the profile's examples; an empty list means none."
    )


class ItemIn(Overrides):
    """One row of a job: a user, what to write for them, and optionally how."""

    custom_id: CustomId = Field(description="Your own name for the item, unique in the job.")
    user_id: UserId
    prompt: Prompt | None = Field(default=None, description="Either this or `messages`.")
    messages: Messages | None = Field(default=None, description="Either this or `prompt`.")


class Options(ScheduleFields):
    """What a job says once for all of its items."""

    defaults: Overrides = Field(default_factory=Overrides)
    metadata: Metadata = Field(default_factory=dict, description="Yours; kept with the job and given back.")
    model: ModelName | None = Field(
        default=None,
        description="A name or alias from `/v1/models`, or `name@` and the first 8 digits or more of its digest. It "
        "may be left out where one model is served.",
    )
    name: JobName | None = Field(
        default=None, description="What you call the job; several may have one name, and the list can be asked for it."
    )
    holdout: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="This share of the users gets the unguided text, whatever else is said, so that what guidance "
        "brings can be measured. Drawn by user id: each user is in or out with all items of the job.",
    )
    holdout_seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_HOLDOUT_SEED,
        description="What the hold-out is drawn by; one is drawn if unsaid. Jobs of one seed and share hold out the "
        "same users.",
    )


class JobIn(Options):
    """A job, item by item."""

    items: list[ItemIn] = Field(min_length=1)


class ReaddressBody(StrictModel):
    """Which model is to write what is left of a job."""

    model: ModelName = Field(description="As in a job.")


class CountsOut(BaseModel):
    """Five counters; every item is in exactly one of them."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    total: int


class HoldoutOut(BaseModel):
    """A job's hold-out: how it was drawn, and how many items each of the two sides has."""

    share: float
    seed: int
    num_holdout: int = Field(description="Items that get the unguided text.")
    num_guided: int


class JobOut(BaseModel):
    """A job and how far it is."""

    id: uuid.UUID
    object: Literal["job"] = "job"
    name: str | None
    state: JobState
    model: str
    model_digest: str | None = Field(description="Which model of that name; nothing else writes its texts.")
    metadata: dict[str, str]
    counts: CountsOut
    holdout: HoldoutOut | None = Field(description="Null where nobody is held out.")
    num_skipped: int = Field(description="Users of its audience who have no item, because they lack an attribute.")
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    priority: Priority
    not_before: dt.datetime | None
    completion_window: str | None
    expires_at: dt.datetime | None = Field(description="Its deadline, by its completion window.")
    paused_at: dt.datetime | None = Field(description="Since when nothing more of it is begun; null: not paused.")
    rate: float | None = Field(
        description="Items per second, lately; null when none has finished lately, "
        "and until as many have as are being written."
    )
    eta_seconds: int | None = Field(description="Until the last item, at that rate.")
    waiting_reason: str | None = Field(description="Why nothing of this job is being decoded; null when something is.")


class JobList(BaseModel):
    """A page of jobs, newest first. The next page is the one `after` this page's `last_id`."""

    object: Literal["list"] = "list"
    data: list[JobOut]
    first_id: uuid.UUID | None
    last_id: uuid.UUID | None
    has_more: bool


class UsageOut(BaseModel):
    """What an item cost, in tokens of the base model."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChoiceOut(BaseModel):
    """One of several answers to an item."""

    text: str
    finish_reason: str
    num_completion_tokens: int
    reward: float | None
    kl: float | None


class ItemErrorOut(BaseModel):
    """Why an item has no text."""

    code: str
    message: str


class ResultOut(BaseModel):
    """What became of one item."""

    custom_id: str
    position: int = Field(description="The item's place in the job, counted from 0.")
    user_id: str | None = Field(description="Null where nobody was named, as a batch may do.")
    profile_version: int | None = Field(description="Null where the user had no profile: nothing of one steered.")
    preference_hash: str
    state: ItemState
    text: str | None
    finish_reason: str | None
    usage: UsageOut | None
    reward: float | None = Field(description="Sum of the token rewards, in nats; null where nothing guided.")
    rewards: list[float] | None
    kl: float | None = Field(
        description="Mean over the tokens of KL(guided || base), in nats: what guidance cost; null if unguided."
    )
    holdout: bool | None = Field(
        description="Whether its user is in the job's hold-out, and has the unguided text; null where there is none."
    )
    choices: list[ChoiceOut] | None = Field(
        description="All answers where `n` asked for several; `text`, `reward` and `kl` are the first one's, and "
        "`usage` counts the tokens of all."
    )
    error: ItemErrorOut | None
    finished_at: dt.datetime
    attempts: int
    prompt: str | None = Field(default=None, description="With `include=prompt`, where the item had a prompt.")
    messages: list[Turn] | None = Field(default=None, description="With `include=prompt`, where it had messages.")
    attributes: dict[str, str | None] | None = Field(
        default=None, description="With `attribute`, as they were for the item; null where the profile is gone."
    )


class ResultPage(BaseModel):
    """Results in input order. Items that have not ended are not in it: `complete` says whether there are any."""

    object: Literal["list"] = "list"
    data: list[ResultOut]
    has_more: bool
    next_after: int | None = Field(description="The position to read on `after`; null on the last page.")
    complete: bool = Field(description="Whether every item of the job has ended.")
    num_unfinished: int


ITEM_EXAMPLE = {"custom_id": "letter-1", "user_id": "ada", "prompt": "Write two sentences about our new tea."}
# Read or written by their endpoints, so FastAPI does not see them: `api.documentation` puts them into the document.
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (JobIn, ItemIn, ReaddressBody, ResultOut)
