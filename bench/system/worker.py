"""`python -m bench.system.worker`: a worker whose engine answers at once, with the item's own prompt.

A step of it ends as many items as it has slots (`PADSERVE_NUM_SLOTS`), as a real one's does at its quickest.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import islice
from unittest.mock import patch

import worker.__main__ as program
from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.pairs import PreferredPair
from domain.text_pieces import Piece
from tests.builders import a_description
from worker.settings import WorkerSettings
from worker.supervision.protocol import Features
from worker.supervision.statistics import Statistics

NUM_SLOTS = 16


class Echo:
    """The engine without a model."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self.description = a_description()
        self._items: dict[Attempt, ClaimedItem] = {}

    @property
    def statistics(self) -> Statistics:
        """Only what every engine has."""
        return Statistics(num_slots=self.num_slots, num_active=min(len(self._items), self.num_slots))

    @property
    def has_work(self) -> bool:
        """Whether an item is inside."""
        return bool(self._items)

    def add(self, item: ClaimedItem) -> Outcome | None:
        """Take an item in."""
        self._items[item.attempt_key] = item
        return None

    def cancel(self, attempt: Attempt) -> None:
        """Forget it."""
        self._items.pop(attempt, None)

    def step(self) -> Sequence[Outcome]:
        """End the items in the slots."""
        inside = list(islice(self._items.items(), self.num_slots))
        for attempt, _ in inside:
            del self._items[attempt]
        return [
            Outcome(item.item_id, item.attempt, echo(item.messages), "stop", num_prompt_tokens=60, reward=0.5)
            for _, item in inside
        ]

    def take_pieces(self) -> Sequence[Piece]:
        """Nobody listens."""
        return ()

    def compare(
        self, pairs: Sequence[PreferredPair], principles: Sequence[str], on_progress: Callable[[], None]
    ) -> list[Features | None]:
        """It scores nothing."""
        del principles, on_progress
        return [None] * len(pairs)


def echo(messages: Sequence[dict[str, object]]) -> str:
    """The last message's text."""
    return str(messages[-1]["content"])


def load_echo(settings: WorkerSettings) -> Echo:
    """Instead of `worker.supervision.engine_process.load_text_decoder`."""
    return Echo(settings.num_slots or NUM_SLOTS)


def main() -> int:
    """Run one worker with that engine; returns the exit code."""
    patch.object(program, "load_text_decoder", load_echo).start()
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
