"""Who wrote a text, by its character n-grams: the author whose texts' TF-IDF profile is nearest by cosine.

Knows the authors' reference texts alone: neither the examples that a model was shown, nor prompt, method or model.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray

LENGTHS = (3, 4)
_Floats = NDArray[np.float64]


class Attributor:
    """Nearest of several authors."""

    def __init__(self, references: Mapping[str, Sequence[str]]) -> None:
        self.names = tuple(references)
        texts = [text for written in references.values() for text in written]
        num_texts = Counter(ngram for text in texts for ngram in _counts(text))
        self._places = {ngram: place for place, ngram in enumerate(sorted(num_texts))}
        self._rarity = {ngram: log((1 + len(texts)) / (1 + found)) + 1 for ngram, found in num_texts.items()}
        self._profiles = np.stack([self._profile(written) for written in references.values()])  # [authors, n-grams]

    def scores(self, text: str) -> dict[str, float]:
        """The cosine of the text with each author's profile: 0 where they share no n-gram."""
        return dict(zip(self.names, map(float, self._profiles @ self._vector(text)), strict=True))

    def author(self, text: str) -> str | None:
        """The nearest author; None for a text that shares nothing with any."""
        scores = self.scores(text)
        nearest = max(scores, key=lambda name: scores[name])
        return nearest if scores[nearest] > 0 else None

    def _profile(self, texts: Sequence[str]) -> _Floats:
        return _unit(np.sum([self._vector(text) for text in texts], axis=0))

    def _vector(self, text: str) -> _Floats:
        """(1 + log count) * idf of each known n-gram, of length 1."""
        counts = {ngram: count for ngram, count in _counts(text).items() if ngram in self._places}
        vector = np.zeros(len(self._places))
        vector[[self._places[ngram] for ngram in counts]] = [
            (1 + log(count)) * self._rarity[ngram] for ngram, count in counts.items()
        ]
        return _unit(vector)


def left_out(references: Mapping[str, Sequence[str]]) -> list[tuple[str, str | None]]:
    """Each text's author, and whom it is attributed to by an attributor that has not read it."""
    outcomes = []
    for name, texts in references.items():
        for index, text in enumerate(texts):
            others = [other for place, other in enumerate(texts) if place != index]
            outcomes.append((name, Attributor({**references, name: others}).author(text)))
    return outcomes


@lru_cache(maxsize=1024)
def _counts(text: str) -> Mapping[str, int]:
    """How often each character n-gram stands in the text as written, with one space before and behind."""
    padded = f" {text.strip()} "
    return Counter(padded[start : start + length] for length in LENGTHS for start in range(len(padded) - length + 1))


def _unit(vector: _Floats) -> _Floats:
    norm = np.linalg.norm(vector)
    return vector / norm if norm else vector
