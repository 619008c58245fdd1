"""What travels between the queue and the engine: the name of an attempt, the item that it is at, and how it ended."""

import uuid
from dataclasses import dataclass
from typing import NamedTuple

from domain.json_values import JsonObject
from domain.states import ItemState


class Attempt(NamedTuple):
    """The name of one lease of one item, from the claim to the engine's report."""

    item_id: int
    number: int


class ClaimedItem(NamedTuple):
    """One item under lease: everything needed to decode it. A tuple: many go from one process to another."""

    item_id: int
    job_id: uuid.UUID
    attempt: int
    messages: list[JsonObject]
    preference: JsonObject
    sampling: JsonObject
    waited_seconds: float | None = None
    """From when its job could begin until this claim, by the database's clock; None where nobody asked."""

    @property
    def attempt_key(self) -> Attempt:
        """Which lease of the item this is."""
        return Attempt(self.item_id, self.attempt)


@dataclass(frozen=True, slots=True)
class EngineTiming:
    """Where an item's time in the engine went, in seconds; of several answers, the one that took longest."""

    queue_seconds: float
    """From its way into the engine until its prompt began to be read."""
    prefill_seconds: float
    """From there to the first token."""
    decode_seconds: float
    """From the first token to the last."""

    @property
    def seconds(self) -> float:
        """Queue, prefill and decode together."""
        return self.queue_seconds + self.prefill_seconds + self.decode_seconds


class Outcome(NamedTuple):
    """How one attempt at an item ended: a text, or the reason why there is none. A tuple, as above."""

    item_id: int
    attempt: int
    text: str | None = None
    finish_reason: str | None = None
    num_prompt_tokens: int | None = None
    num_completion_tokens: int | None = None
    reward: float | None = None
    rewards: tuple[float, ...] | None = None
    kl: float | None = None
    choices: tuple[JsonObject, ...] | None = None
    error_code: str | None = None
    error_message: str | None = None
    stop_text: str | None = None
    """Before which of the item's stop texts the text ends; None where it ends otherwise."""
    token_rewards: JsonObject | None = None
    """What guided each token, where that was asked for: `worker.texts.insight` makes it."""
    timing: EngineTiming | None = None
    """Where the time went, for traces; None of what was not decoded."""

    @property
    def key(self) -> Attempt:
        """The name of the attempt that ended with this outcome."""
        return Attempt(self.item_id, self.attempt)

    @property
    def state(self) -> ItemState:
        """The terminal state this outcome brings its item to."""
        return ItemState.SUCCEEDED if self.error_code is None else ItemState.FAILED
