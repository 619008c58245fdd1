"""The states of items, jobs, fits, workers, deliveries and models, and the moves between them. Pure data: no row."""

from enum import StrEnum
from types import MappingProxyType


class ItemState(StrEnum):
    """Where one item stands; exactly one of a job's five counters counts it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """Where a job stands: `completed` when every item has ended, else ended early by a client or by its deadline.

    Paused or not to begin yet, a job is still `queued` or `running`: those are reasons to wait.
    """

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class FitState(StrEnum):
    """Where one fit of a profile to its feedback stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class WorkerState(StrEnum):
    """What a worker process last said of itself."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class DeliveryState(StrEnum):
    """Where the delivery of one event to one webhook stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class ModelState(StrEnum):
    """Whether a registered model is served: by a worker that is ready, soon, or by nobody."""

    READY = "ready"
    LOADING = "loading"
    GONE = "gone"


ITEM_MOVES = MappingProxyType(
    {
        ItemState.QUEUED: frozenset({ItemState.RUNNING, ItemState.CANCELLED, ItemState.FAILED}),
        ItemState.RUNNING: frozenset({ItemState.QUEUED, ItemState.SUCCEEDED, ItemState.FAILED, ItemState.CANCELLED}),
        ItemState.SUCCEEDED: frozenset[ItemState](),
        ItemState.FAILED: frozenset[ItemState](),
        ItemState.CANCELLED: frozenset[ItemState](),
    }
)

JOB_MOVES = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.COMPLETED, JobState.CANCELLED, JobState.EXPIRED}),
        JobState.RUNNING: frozenset({JobState.COMPLETED, JobState.CANCELLED, JobState.EXPIRED}),
        JobState.COMPLETED: frozenset[JobState](),
        JobState.CANCELLED: frozenset[JobState](),
        JobState.EXPIRED: frozenset[JobState](),
    }
)

# A client's retry is the one way back from a terminal state: failed items are queued again, and their job is reopened.
RETRIED_ITEM_STATE = ItemState.FAILED
RETRIED_JOB_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED, JobState.EXPIRED)

FIT_MOVES = MappingProxyType(
    {
        FitState.QUEUED: frozenset({FitState.RUNNING, FitState.FAILED}),
        FitState.RUNNING: frozenset({FitState.QUEUED, FitState.SUCCEEDED, FitState.FAILED}),
        FitState.SUCCEEDED: frozenset[FitState](),
        FitState.FAILED: frozenset[FitState](),
    }
)

TERMINAL_ITEM_STATES = tuple(state for state, moves in ITEM_MOVES.items() if not moves)
TERMINAL_JOB_STATES = tuple(state for state, moves in JOB_MOVES.items() if not moves)
OPEN_ITEM_STATES = tuple(state for state, moves in ITEM_MOVES.items() if moves)
EARLY_ENDS = MappingProxyType({JobState.CANCELLED: ItemState.CANCELLED, JobState.EXPIRED: ItemState.FAILED})
"""The states of a job that ended before its items had, and what becomes of the items that were open then."""


class UnknownUsers(StrEnum):
    """What becomes of a request of OpenAI's or Anthropic's clients whose user has no profile, or that names none."""

    UNGUIDED = "unguided"
    REFUSE = "refuse"
