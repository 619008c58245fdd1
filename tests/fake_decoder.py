"""Decoders without a model, for tests of everything around the engine. What they do is written in the prompt."""

import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.model_descriptions import ModelDescription
from domain.pairs import PreferredPair
from domain.text_pieces import Piece
from tests.builders import a_description
from worker.supervision.protocol import DecoderUnavailableError, Features
from worker.supervision.statistics import Statistics

ENDLESS_STEPS = 40
SLOW_SECONDS = 0.05


class EchoDecoder:
    """Answers each item with its own prompt, one item a step, in the order of arrival.

    `kill` in a prompt kills the process, `hang` stops it from stepping, `fail` fails the item, `slow` takes a moment,
    and `endless` two seconds; `once:<path>` in front makes the misfortune happen only while that file does not exist.
    An item that somebody listens to is said word by word, one a step; at the word `die!` the process is killed, once
    for the file that `once:<path>` in front names.
    As strict as the engine: an item of which any attempt is still inside is refused.
    """

    def __init__(self, num_slots: int = 8, description: ModelDescription | None = None) -> None:
        self.num_slots = num_slots
        self.description = description or a_description()
        self._items: dict[Attempt, ClaimedItem] = {}
        self._num_steps = 0
        self._num_words_said: dict[Attempt, int] = {}
        self._pieces: list[Piece] = []

    @property
    def statistics(self) -> Statistics:
        return Statistics(num_slots=self.num_slots, num_active=min(len(self._items), self.num_slots))

    @property
    def has_work(self) -> bool:
        return bool(self._items)

    def add(self, item: ClaimedItem) -> Outcome | None:
        if "refuse" in prompt_of(item):
            return Outcome(item.item_id, item.attempt, error_code="prompt_too_long", error_message="Too long.")
        if any(attempt.item_id == item.item_id for attempt in self._items):
            return Outcome(item.item_id, item.attempt, error_code="duplicate_request", error_message="Is inside.")
        self._items[item.attempt_key] = item
        return None

    def cancel(self, attempt: Attempt) -> None:
        self._items.pop(attempt, None)

    def take_pieces(self) -> Sequence[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def compare(
        self, pairs: Sequence[PreferredPair], principles: Sequence[str], on_progress: Callable[[], None]
    ) -> list[Features | None]:
        """A principle speaks for a text as often as the text names it, 10 nats each; `unscorable` texts have none."""
        prompts = [str(pair.messages[-1]["content"]) for pair in pairs]
        _misfortune(prompts)
        for prompt in prompts:
            if "long" in prompt:
                time.sleep(1.1)
                on_progress()
        return [
            None
            if "unscorable" in pair.chosen
            else tuple(10.0 * (pair.chosen.count(text) - pair.rejected.count(text)) for text in principles)
            for pair in pairs
        ]

    def step(self) -> Sequence[Outcome]:
        _misfortune([prompt_of(item) for item in self._items.values()])
        attempt, item = next(iter(self._items.items()))
        if "slow" in prompt_of(item) or "endless" in prompt_of(item):
            time.sleep(SLOW_SECONDS)
        self._num_steps += 1
        if not self._has_said_all(attempt, item):
            return []
        if "endless" in prompt_of(item) and self._num_steps < ENDLESS_STEPS:
            return []
        del self._items[attempt]
        self._num_steps = 0
        if _strikes(prompt_of(item), "fail"):
            return [Outcome(item.item_id, item.attempt, error_code="non_finite_logits", error_message="Not finite.")]
        return [Outcome(item.item_id, item.attempt, text=prompt_of(item), finish_reason="stop")]

    def _has_said_all(self, attempt: Attempt, item: ClaimedItem) -> bool:
        listener = item.sampling.get("listener")
        if listener is None:
            return True
        words = re.findall(r"[^ ]+ ?", prompt_of(item))
        number = self._num_words_said.get(attempt, 0)
        if number == len(words):
            return True
        if words[number].strip() == "die!" and _is_first_time(words[0].strip()):
            os.kill(os.getpid(), signal.SIGKILL)
        offset = sum(map(len, words[:number]))
        self._pieces.append(Piece(str(listener), item.attempt, 0, offset, words[number]))
        self._num_words_said[attempt] = number + 1
        return False


def prompt_of(item: ClaimedItem) -> str:
    return str(item.messages[-1]["content"])


def _misfortune(prompts: Sequence[str]) -> None:
    for prompt in prompts:
        if _strikes(prompt, "kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if _strikes(prompt, "hang"):
            time.sleep(3600)


def _strikes(prompt: str, misfortune: str) -> bool:
    """Whether the prompt asks for this misfortune, and does so still."""
    *once, act = prompt.split(" ")
    if act != misfortune:
        return False
    return not once or _is_first_time(once[0])


def _is_first_time(word: str) -> bool:
    """Of a word that names a file: whether it is not there yet. From now on it is."""
    if not word.startswith("once:"):
        return True
    marker = Path(word.removeprefix("once:"))
    if marker.exists():
        return False
    marker.touch()
    return True


def load_echo(_settings: object = None) -> EchoDecoder:
    return EchoDecoder()


def load_what_is_there(identity_file: str) -> EchoDecoder:
    """The model whose digest the file holds now."""
    return EchoDecoder(description=a_description(Path(identity_file).read_text()))


def load_nothing() -> EchoDecoder:
    raise DecoderUnavailableError("No model at nowhere: set PADSERVE_MODEL.")


def load_and_die() -> EchoDecoder:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def load_as_written(script: str) -> EchoDecoder:
    """Each start does the first word of the file, and takes it away: `load`, or `die`."""
    word, _, others = Path(script).read_text().partition(" ")
    Path(script).write_text(others)
    return load_and_die() if word == "die" else EchoDecoder()


def load_slowly(pid_file: str) -> EchoDecoder:
    unfinished = Path(pid_file).with_suffix(".new")
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(pid_file)
    time.sleep(3600)
    raise AssertionError


def load_once_it_may(folder: str) -> EchoDecoder:
    """At once the first time; each later time waits until `may` is there. The process is named in `pid`."""
    pid, may = Path(folder, "pid"), Path(folder, "may")
    while pid.exists() and not may.exists():
        time.sleep(0.02)
    pid.with_suffix(".new").write_text(str(os.getpid()))
    pid.with_suffix(".new").rename(pid)
    return EchoDecoder()
