"""The kinds of jobs in a chaos run: what clients do to each, and what they may expect of it."""

import datetime as dt
import random
from dataclasses import dataclass
from enum import StrEnum

NUM_PLAIN = 3
"""Of so many jobs in a deck nothing is asked but that they are decoded."""


class Kind(StrEnum):
    """What a client does to a job."""

    PLAIN = "plain"
    CANCELLED = "cancelled"
    PAUSED = "paused and resumed"
    LATER = "not before"
    OVERTAKEN = "overtaken by its deadline, and retried"
    FAILING = "failing once, and retried"
    DELETED = "deleted"
    POISONED = "poisoned"


ENDS = {Kind.CANCELLED: {"completed", "cancelled"}, Kind.OVERTAKEN: {"completed", "expired"}}
"""In what states a job of the kind may end; any other is to be completed."""
POISON_CODES = {"poisoned", "worker_lost"}


@dataclass(frozen=True, slots=True)
class Submitted:
    """One job that the API has accepted."""

    job_id: str
    kind: Kind
    prompts: list[str]
    not_before: str | None = None

    def complaint(self, job: dict[str, object]) -> str | None:
        """What is wrong with how it ended."""
        if job["state"] not in ENDS.get(self.kind, {"completed"}):
            return f"job {self.job_id}, {self.kind}, is {job['state']}"
        if self.not_before is not None and moment_of(job["started_at"]) < moment_of(self.not_before):
            return f"job {self.job_id} was begun at {job['started_at']}, before {self.not_before}"
        return None

    def is_as_promised(self, state: object, row: dict[str, object], prompt: str) -> bool:
        """Whether a result is what the item had to become in a job of this state."""
        if is_poison(prompt):
            return row["state"] == "failed" and code_of(row) in POISON_CODES
        if row["text"] == prompt and row["state"] == "succeeded":
            return True
        overtaken = row["state"] == "failed" and code_of(row) == "expired"
        return (state == "cancelled" and row["state"] == "cancelled") or (state == "expired" and overtaken)


def deck_of(draws: random.Random, num_jobs: int) -> list[Kind]:
    """A kind for each job: every kind comes, however few jobs there are, in an order of its own."""
    deck: list[Kind] = []
    while len(deck) < num_jobs:
        hand = [*Kind, *(NUM_PLAIN * [Kind.PLAIN])]
        draws.shuffle(hand)
        deck += hand
    return deck[:num_jobs]


def is_poison(prompt: str) -> bool:
    """Whether it kills every engine that decodes it."""
    return prompt == "kill"


def moment_of(written: object) -> dt.datetime:
    """A moment as the API writes it."""
    return dt.datetime.fromisoformat(str(written))


def code_of(row: dict[str, object]) -> object:
    """Why there is no text."""
    error = row["error"]
    return error.get("code") if isinstance(error, dict) else None
