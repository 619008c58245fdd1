"""What goes wrong in a text: it says the same again, or it says what it was told. Text only; no model, no judge."""

import re
from collections.abc import Iterable

GRAM_WORDS = 4
ECHO_WORDS = 5
TELLING_LETTERS = 5
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def words(text: str) -> list[str]:
    """The text's words, without capitals and punctuation."""
    return [word.lower() for word in _WORD.findall(text)]


def repetition(text: str) -> float:
    """The share of runs of four words that stood in the text before; 0 where it has no such run."""
    grams = _grams(words(text), GRAM_WORDS)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def echoes(text: str, shown: str, known: Iterable[str] = ()) -> bool:
    """Whether the text repeats five words in a row that stand in `shown` and in none of the texts `known`.

    Where `shown` is shorter, all of it has to be repeated, and one or two words are never an echo.
    """
    told = words(shown)
    length = min(ECHO_WORDS, len(told))
    if length < 3:  # noqa: PLR2004 (two words in a row are anybody's)
        return False
    innocent = {gram for text_known in known for gram in _grams(words(text_known), length)}
    return not set(_grams(told, length)).difference(innocent).isdisjoint(_grams(words(text), length))


def names(text: str, principle: str, known: Iterable[str] = ()) -> bool:
    """Whether the text has a longer word of the principle that stands in none of the texts `known`.

    A text that is meant to be cheerful, and says "cheerful", tells of the principle instead of keeping it.
    """
    innocent = {word for text_known in known for word in words(text_known)}
    telling = {word for word in words(principle) if len(word) >= TELLING_LETTERS} - innocent
    return not telling.isdisjoint(words(text))


def _grams(of: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(of[start : start + length]) for start in range(len(of) - length + 1)]
