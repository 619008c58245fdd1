"""What a text repeats of the examples its model was shown: parroting is no style. Knows text alone."""

import re
from collections.abc import Iterable
from itertools import pairwise

NUM_WORDS = 5
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def copied_share(text: str, examples: Iterable[str], num_words: int = NUM_WORDS) -> float:
    """The share of the text's runs of `num_words` words that stand in an example; 0 for a text without any."""
    runs = _runs(_words(text), num_words)
    if not runs:
        return 0.0
    known = _known(examples, num_words)
    return sum(run in known for run in runs) / len(runs)


def without_copied(text: str, examples: Iterable[str], num_words: int = NUM_WORDS) -> str:
    """The text without the words of runs that stand in an example; with a word goes all up to the next one."""
    known = _known(examples, num_words)
    runs = _runs(_words(text), num_words)
    copied = {start + place for start, run in enumerate(runs) if run in known for place in range(num_words)}
    bounds = [*(word.start() for word in _WORD.finditer(text)), len(text)]
    kept = [text[start:end] for place, (start, end) in enumerate(pairwise(bounds)) if place not in copied]
    return "".join([text[: bounds[0]] if 0 not in copied else "", *kept])


def _known(examples: Iterable[str], num_words: int) -> set[tuple[str, ...]]:
    return {run for example in examples for run in _runs(_words(example), num_words)}


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _runs(words: list[str], num_words: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + num_words]) for start in range(len(words) - num_words + 1)]
