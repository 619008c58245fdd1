"""What the server answers, as frozen values. Unknown fields are ignored: an older client reads a newer server."""

import datetime as dt
import json
import math
from dataclasses import dataclass, field

ENDED_STATES = frozenset({"completed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class Principle:
    """One preference statement, and how much it counts beside the others."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Learned:
    """What a profile version that feedback wrote comes from."""

    num_pairs: int
    base_version: int
    deviations: tuple[float, ...] = ()
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """One version of a user's stored preferences."""

    user_id: str
    version: int
    etag: str
    created_at: dt.datetime
    updated_at: dt.datetime
    principles: tuple[Principle, ...] = ()
    method: str | None = None
    strength: float | None = None
    max_kl: float | None = None
    examples: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    learn: bool = False
    learned: Learned | None = None


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import of profiles did; after a dry run, what it would have done."""

    num_profiles: int
    num_created: int
    num_updated: int
    num_unchanged: int
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Five exclusive counters that add up to `total`."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    total: int

    @property
    def ended(self) -> int:
        """Items in a terminal state."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def percent_ended(self) -> int:
        """Rounded down: 100 means every single one."""
        return math.floor(100 * self.ended / self.total) if self.total else 100


@dataclass(frozen=True, slots=True)
class Model:
    """A model that jobs can name, by its id, an alias, or `name@` and digits of its digest."""

    id: str
    digest: str
    state: str
    methods: tuple[str, ...]
    default_method: str
    max_length: int
    aliases: tuple[str, ...] = ()
    strength: float | None = None
    max_kl: float | None = None
    format: str | None = None
    last_seen_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Holdout:
    """How a job's hold-out was drawn, and how many items each of the two sides has."""

    share: float
    seed: int
    num_holdout: int
    num_guided: int


@dataclass(frozen=True, slots=True)
class SkippedUser:
    """A user of a campaign's audience who has no item, and the attributes they lack."""

    user_id: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DefaultedAttribute:
    """An attribute of a campaign's prompt, and how many users with an item get its default."""

    attribute: str
    num_users: int


@dataclass(frozen=True, slots=True)
class Audience:
    """What became of a campaign's audience; of the users as many are named as the key may read, and 100 at most."""

    num_skipped: int = 0
    skipped: tuple[SkippedUser, ...] = ()
    defaulted: tuple[DefaultedAttribute, ...] = ()
    num_excluded: int = 0
    num_unknown_excluded: int = 0
    unknown_excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a submission would be. What is not known is None, and its basis says why."""

    model: str
    model_digest: str
    num_items: int
    prompt_tokens: int
    prompt_tokens_basis: str
    max_completion_tokens: int
    expected_completion_tokens_basis: str
    expected_seconds_basis: str
    expected_completion_tokens: int | None = None
    expected_seconds: int | None = None
    num_items_ahead: int = 0
    name: str | None = None
    holdout: Holdout | None = None
    audience: Audience | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job and how far it is; `rate` is in items per second."""

    id: str
    state: str
    model: str
    counts: Counts
    created_at: dt.datetime
    model_digest: str | None = None
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    rate: float | None = None
    eta_seconds: float | None = None
    waiting_reason: str | None = None
    priority: str = "normal"
    not_before: dt.datetime | None = None
    completion_window: str | None = None
    expires_at: dt.datetime | None = None
    paused_at: dt.datetime | None = None
    name: str | None = None
    holdout: Holdout | None = None
    num_skipped: int = 0
    audience: Audience | None = None
    """What became of a campaign's audience; only in the answer to its submission."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in ENDED_STATES


@dataclass(frozen=True, slots=True)
class FitError:
    """Why a fit changed nothing."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Fit:
    """One fit of a profile's weights to its user's feedback; `version` is the one that it wrote, if any."""

    id: str
    state: str
    created_at: dt.datetime
    num_pairs: int | None = None
    version: int | None = None
    error: FitError | None = None
    finished_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What is stored of a user's feedback; `message` says why nothing is learnt from a request, if so."""

    user_id: str
    num_pairs: int
    num_ratings: int = 0
    num_new: int = 0
    num_duplicate: int = 0
    fit: Fit | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What an item cost, in tokens of the base model."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why an item has no text."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several answers to an item."""

    text: str
    finish_reason: str
    num_completion_tokens: int
    reward: float | None = None
    kl: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item: its text, or why there is none."""

    custom_id: str
    position: int
    user_id: str | None
    state: str
    profile_version: int | None
    preference_hash: str
    text: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    reward: float | None = None
    rewards: tuple[float, ...] | None = None
    kl: float | None = None
    """Mean over the tokens of KL(guided || base), in nats."""
    choices: tuple[Choice, ...] | None = None
    """All answers, where several were asked for."""
    error: ItemError | None = None
    holdout: bool | None = None
    """Whether its user is held out and has the unguided text; None where nobody is."""
    attempts: int = 0
    finished_at: dt.datetime | None = None


def position_of(line: str, after: int | None = None) -> int:
    """The place, in its job, of the item that a line of results is about; ValueError where it is not after another."""
    position = int(json.loads(line)["position"])
    if after is not None and position <= after:
        raise ValueError("results come in input order")
    return position
