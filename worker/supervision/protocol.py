"""What the worker and its engine process say to each other, and what the worker asks of a decoder. Plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.model_descriptions import ModelDescription
from domain.pairs import PreferredPair
from domain.text_pieces import Piece
from worker.supervision.statistics import Statistics

Features = tuple[float, ...]
"""Of a pair, for each principle: `phi(chosen) - phi(rejected)` in nats (see `worker.learning.preference_fit`)."""


class DecoderUnavailableError(Exception):
    """The decoder cannot be loaded; the message is one line that says what to do."""


class Decoder(Protocol):
    """The engine as the worker sees it: items in, outcomes out, text on both sides."""

    @property
    def num_slots(self) -> int:
        """Items decoded at once."""

    @property
    def description(self) -> ModelDescription:
        """Name, digest, methods and limits of the model that was loaded."""

    @property
    def statistics(self) -> Statistics:
        """What the engine has done and what it holds now. Asked about every second."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""

    def add(self, item: ClaimedItem) -> Outcome | None:
        """Take an item in; an outcome at once where it cannot be decoded."""

    def cancel(self, attempt: Attempt) -> None:
        """Forget an attempt; nothing happens where it is unknown."""

    def step(self) -> Sequence[Outcome]:
        """Decode a little and return what ended."""

    def take_pieces(self) -> Sequence[Piece]:
        """What the last step has added to texts that somebody listens to."""

    def compare(
        self, pairs: Sequence[PreferredPair], principles: Sequence[str], on_progress: Callable[[], None]
    ) -> Sequence[Features | None]:
        """The features of each pair; None where a text of it cannot be scored. `on_progress` is called often."""


LoadDecoder = Callable[[], Decoder]


@dataclass(frozen=True, slots=True)
class Decode:
    """To the engine process: take these items in."""

    items: tuple[ClaimedItem, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """To the engine process: forget these attempts."""

    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """To the engine process: score these pairs under each principle."""

    number: int
    pairs: tuple[PreferredPair, ...]
    principles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """To the engine process: end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From the engine process: the decoder is loaded, and what it holds before its first item."""

    num_slots: int
    description: ModelDescription
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """From the engine process: the decoder cannot be loaded."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """From the engine process: these items ended."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Grown:
    """From the engine process: these texts have grown."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """From the engine process: the answer to the `Compare` of this number."""

    number: int
    features: tuple[Features | None, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """From the engine process: what it has done and what it holds now."""

    statistics: Statistics


@dataclass(frozen=True, slots=True)
class Beat:
    """From the engine process: steps are being made."""


Command = Decode | Cancel | Compare | Stop
Report = Ready | LoadFailed | Ended | Grown | Compared | Measured | Beat
