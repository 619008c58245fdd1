"""What may go wrong in a text: it says the same again, or what it was told instead of what was asked. Words only."""

import re
from collections.abc import Iterable, Iterator, Sequence

RUN = 4
"""Words in a row that count as said again."""
SHORTEST_ECHO = 3
"""Two words in a row are anybody's."""
TELLING_LETTERS = 5
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation."""
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.lower())]


def repetition(text: str) -> float:
    """The share of runs of four words that stood in the text before; 0 where it has no such run."""
    runs = list(_runs(words(text), RUN))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct(texts: Sequence[str]) -> float:
    """Different pairs of words among all pairs of words of the texts."""
    pairs = [pair for text in texts for pair in _runs(words(text), 2)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def echoes(text: str, shown: str, known: Iterable[str] = ()) -> bool:
    """Whether the text repeats four words in a row that stand in `shown` and in none of the texts `known`.

    Where `shown` is shorter, all of it has to be repeated.
    """
    told = words(shown)
    length = min(RUN, len(told))
    if length < SHORTEST_ECHO:
        return False
    innocent = {run for text_known in known for run in _runs(words(text_known), length)}
    return not (set(_runs(told, length)) - innocent).isdisjoint(_runs(words(text), length))


def names(text: str, principle: str, known: Iterable[str] = ()) -> bool:
    """Whether the text has a longer word of the principle that stands in none of the texts `known`.

    A text that is meant to be cheerful, and says "cheerful", tells of the principle instead of keeping it.
    """
    innocent = {word for text_known in known for word in words(text_known)}
    telling = {word for word in words(principle) if len(word) >= TELLING_LETTERS} - innocent
    return not telling.isdisjoint(words(text))


def _runs(of: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(of[start : start + size]) for start in range(len(of) - size + 1))
