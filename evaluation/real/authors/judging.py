"""What is said of each text: whose it seems to be, what it copied, whether it repeats itself and keeps to the topic."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from domain.preferences import Method
from evaluation.real.authors.attribution import Attributor
from evaluation.real.authors.copying import copied_share, without_copied
from evaluation.real.authors.measurement import Written
from evaluation.real.authors.prompts import TEST_PROMPTS, VALIDATION_PROMPTS
from evaluation.real.authors.texts import Author

STRICT_RUN = 3
"""Words in a row that count as copied where nothing is forgiven."""
TOPIC_LETTERS = 5
"""A prompt's words of at least so many letters that no other prompt has are its topic."""


@dataclass(frozen=True)
class Judged:
    """A text and what is said of it."""

    written: Written
    own: bool
    """Attributed to the author whose examples were shown."""
    own_without_copies: bool
    """The same of what is left when runs of five words that stand in an example are taken out ..."""
    own_strictly: bool
    """... and runs of three words."""
    copied: float
    """The share of its runs of five words that stand in an example."""
    repeated: float
    """The share of its pairs of words that it has had before."""
    topic: float
    """The share of the topic's words that it has; 0 where the prompt has none."""


def judge(texts: Iterable[Written], authors: Sequence[Author]) -> list[Judged]:
    """Attribution is told the text alone; the examples serve to take out what was copied from them."""
    attributor = Attributor({author.name: author.references for author in authors})
    examples = {author.name: author.examples for author in authors}
    topics = _topics([*VALIDATION_PROMPTS, *TEST_PROMPTS])
    return [_judged(written, attributor, examples[written.author], topics[written.prompt]) for written in texts]


def _judged(written: Written, attributor: Attributor, examples: Sequence[str], topic: frozenset[str]) -> Judged:
    shown = () if written.condition.method is Method.NONE else examples
    left = [written.text, without_copied(written.text, shown), without_copied(written.text, shown, STRICT_RUN)]
    own, own_without_copies, own_strictly = (attributor.author(text) == written.author for text in left)
    found = topic & set(_words(written.text))
    return Judged(
        written,
        own,
        own_without_copies,
        own_strictly,
        copied=copied_share(written.text, shown),
        repeated=repeated_share(written.text),
        topic=len(found) / len(topic) if topic else 0.0,
    )


def repeated_share(text: str) -> float:
    """The share of the text's pairs of words that stand in it already."""
    words = text.split()
    pairs = list(pairwise(words))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _topics(prompts: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Each prompt's own words."""
    counts = Counter(word for prompt in prompts for word in set(_words(prompt)))
    return {
        prompt: frozenset(word for word in _words(prompt) if counts[word] == 1 and len(word) >= TOPIC_LETTERS)
        for prompt in prompts
    }


def _words(text: str) -> list[str]:
    return [word.lower().removesuffix("s") for word in re.findall(r"[^\W\d_]+", text)]
