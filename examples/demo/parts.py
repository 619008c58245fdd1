"""Principles with a part to fill in: what to mention, what to open or close with, which word to avoid.

Their values are many and recombine, so that a value which training never met still means something to a small model.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.rules import PLACE, Rule
from examples.demo.chance import happens
from examples.demo.principles import DemoPrinciple
from examples.demo.topics import HELD_OUT_THINGS, training_topic

_QUALITIES = (
    *("Good", "Happy", "Bright", "Big", "Fresh", "Fine", "Sunny", "Cosy", "Golden", "Merry"),
    *("Great", "Lovely", "Gentle", "Clear", "Simple", "Fair", "Calm", "Kind", "Sweet", "Bold"),
)
_NOUNS = (
    *("morning", "evening", "news", "times", "wishes", "greetings", "moments", "days"),
    *("plans", "ideas", "words", "stories", "people", "journeys", "weather", "company"),
)
PHRASES = tuple(f"{quality} {noun}" for quality in _QUALITIES for noun in _NOUNS)
# One in four: every quality and every noun is in some of them, and in some of the others.
_UNSEEN_PHRASES = tuple(
    f"{quality} {noun}"
    for row, quality in enumerate(_QUALITIES)
    for column, noun in enumerate(_NOUNS)
    if (row + column) % 4 == 0
)
_KNOWN_PHRASES = tuple(phrase for phrase in PHRASES if phrase not in _UNSEEN_PHRASES)
_KNOWN_THINGS = (
    *("flea market", "lunch menu", "book club", "gift card", "night train", "boat tour", "brass band", "swap shop"),
    *("rain jacket", "quiz night", "food bank", "bike repair"),
)
_INVENTED_SHARE = 0.8


@dataclass(frozen=True)
class Part:
    """One such principle; `wordings` and `rule` say {value} where the value goes."""

    name: str
    wordings: tuple[str, ...]
    rule: Rule
    values: tuple[str, ...]
    """Values that PersRM and base model were trained with; for things to mention, a few of them."""
    unseen_values: tuple[str, ...]
    """In none of the preference pairs; all but the words to avoid are in no text of the base model's corpus either."""

    def asking(self, value: str) -> DemoPrinciple:
        """The principle with its value filled in."""
        wordings = tuple(wording.replace(PLACE, value) for wording in self.wordings)
        return DemoPrinciple(self.name, wordings, self.rule.with_value(value), value)


MENTION = Part(
    "mention",
    ("mention the {value}", "say something about the {value}", "bring up the {value}"),
    Rule(contains_any=(PLACE,)),
    values=_KNOWN_THINGS,
    unseen_values=HELD_OUT_THINGS,
)
OPEN = Part(
    "open with",
    ('open with "{value}"', 'begin with "{value}"', 'let the first words be "{value}"'),
    Rule(starts_with=(f"{PLACE}.", f"{PLACE},", f"{PLACE}!")),
    values=_KNOWN_PHRASES,
    unseen_values=_UNSEEN_PHRASES,
)
CLOSE = Part(
    "close with",
    ('close with "{value}"', 'finish with "{value}"', 'let the last words be "{value}"'),
    Rule(ends_with=(PLACE, f"{PLACE}.", f"{PLACE}!")),
    values=_KNOWN_PHRASES,
    unseen_values=_UNSEEN_PHRASES,
)
AVOID = Part(
    "avoid",
    ("avoid the word {value}", "without the word {value}", "do not say {value}"),
    Rule(not_contains=(PLACE,)),
    values=("more", "week", "you", "every", "all", "way", "small", "follow"),
    unseen_values=("next", "about", "will"),
)
PARTS = (MENTION, OPEN, AVOID, CLOSE)
PART_BY_NAME = {part.name: part for part in PARTS}
# In none of the pairs, whatever the value.
UNSEEN_PARTS = (CLOSE.name,)
SEEN_PARTS = tuple(part.name for part in PARTS if part.name not in UNSEEN_PARTS)


def training_principle(rng: random.Random, part: Part, *, in_pairs: bool) -> DemoPrinciple:
    """The part with a value for training: any thing to mention, a phrase, or a word."""
    if part is MENTION and happens(rng, _INVENTED_SHARE):
        return part.asking(training_topic(rng))
    values: Sequence[str] = part.values
    if part is AVOID and not in_pairs:
        values = (*values, *part.unseen_values)
    return part.asking(rng.choice(values))
