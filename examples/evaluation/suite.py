"""The demo's world as a suite: held-out topics, the principles' own rules, and pairs that no training has seen."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from evaluation.suite import (
    About,
    Combination,
    Example,
    Opposites,
    Prompt,
    Split,
    SuiteLine,
    SuitePrinciple,
    write_suite,
)
from examples.demo.corpus import UNSEEN_TOGETHER, Draw, draw_for_pairs, make_request, preference_pairs
from examples.demo.parts import AVOID, CLOSE, MENTION, OPEN, PART_BY_NAME, UNSEEN_PARTS, Part
from examples.demo.principles import EXCLUSIVE, PRINCIPLES, SEEN
from examples.demo.topics import HELD_OUT_NAMES, HELD_OUT_TOPICS

SEED = 601
EXAMPLES_SEED = 607
PAIRS_SEED = 613
PROMPTS_PER_TOPIC = 5
VALIDATION_EVERY = 4
"""Every fourth topic is for validation; no topic is in both splits."""
NAMED_EVERY = 4
NUM_EXAMPLES = 2
PAIRS_PER_PRINCIPLE = 40

NEW = " (new)"
"""Marks a part that the pairs ask for with values that they do not have."""

# No pair has two of these together; the last five join something held out.
COMBINATIONS = (
    *(tuple(sorted(pair)) for pair in UNSEEN_TOGETHER),
    ("formal", "action", "mention"),
    ("playful", "beginner", "open with"),
    ("concise", "question", "mention"),
    ("formal", "warm"),
    ("urgent", "action"),
    ("playful", MENTION.name + NEW),
    ("concise", OPEN.name + NEW),
    ("close with", "question"),
)
ABOUT = """What guidance does to the demo's models (`examples/demo/model`): a base of 3.5 M parameters, trained from
scratch on the messages of a small grammar, and a LoRA PersRM trained by DPO on pairs of them. Every claim below is
about such models and such messages, and about nothing larger.

Prompts name topics that no model has met in training, two in three of them made-up words; no topic is both in test and
in validation prompts. The base follows guidelines as carelessly as the annotators of its corpus: `prompt only` is what
that gets. It has never read a conversation of more than one turn, so that examples in context are beyond it.

Held out of the PersRM's pairs, while the base has read of them: `warm`, `urgent`, `close with` whatever the phrase,
and the words of `avoid (new)`. In neither's training: the things of `mention (new)`, and the phrases of `open with
(new)` and `close with`, which are new pairs of known words. Judge, independent language model, tuned adapters and other
bases were trained on examples of seeds of their own (`examples/evaluation`).

Where claims fail with the models of this repository, and why:

* `avoid`. A sentence has to be turned down at its first word for one that comes later, and the PersRM has not learnt
  that: its reward ranks such pairs little better than chance and leaves the choice to the base, which avoids the words
  of its most frequent sentences only. Asked for one word, it tends to leave out a whole closing line, which has several
  of the words in both lists: hence the two columns that rise together.
* `formal + warm` and `urgent + action`. A seen principle wins over a held-out one that needs the same place: the reward
  for `formal` and for `action` pulls towards their own last line, and the text ends there, the more so the stronger the
  guide. `contrast` keeps both in most texts.
* `mixture` towards `playful`. At the far end the base reads no principle and nothing holds the register; the texts
  that fail drift to what is near in the pairs, to questions and words for beginners.
* `contrast`. The base has read every principle in its corpus, asked for and kept. What it says with and without them
  differs by just what the PersRM would have to add. A base that follows no guidelines would leave more to add."""


def write_demo_suite(path: Path) -> None:
    """The suite file."""
    write_suite(path, _lines())


def write_demo_pairs(path: Path) -> None:
    """Held-out preference pairs for one principle each, those that the PersRM never saw included."""
    with path.open("w", encoding="utf-8") as lines:
        for index, principle in enumerate(_principles()):
            name, draw = _as_in_training(principle)
            for pair in preference_pairs(PAIRS_SEED + index, PAIRS_PER_PRINCIPLE, (name,), draw):
                lines.write(json.dumps(asdict(pair)) + "\n")


def _lines() -> Iterator[SuiteLine]:
    yield About(type="about", text=ABOUT)
    for principle in _principles():
        yield principle.model_copy(update={"examples": tuple(_examples(principle))})
    for names in COMBINATIONS:
        yield Combination(type="combination", principles=names)
    for pair in EXCLUSIVE:
        first, second = sorted(pair)
        yield Opposites(type="opposites", principles=(first, second))
    yield from _prompts()


def _principles() -> Iterator[SuitePrinciple]:
    """Styles, then parts; those that the PersRM was trained on come first among each."""
    for style in PRINCIPLES:
        yield SuitePrinciple(
            type="principle",
            name=style.name,
            wordings=style.wordings,
            rule=style.rule,
            seen=style.name in SEEN,
        )
    for part in (MENTION, OPEN, AVOID):
        yield _with_values(part, part.name, part.values, seen=True)
    for part in (MENTION, OPEN, AVOID):
        yield _with_values(part, part.name + NEW, part.unseen_values, seen=False)
    yield _with_values(CLOSE, CLOSE.name, CLOSE.unseen_values, seen=CLOSE.name not in UNSEEN_PARTS)


def _with_values(part: Part, name: str, values: tuple[str, ...], *, seen: bool) -> SuitePrinciple:
    return SuitePrinciple(type="principle", name=name, wordings=part.wordings, rule=part.rule, values=values, seen=seen)


def _as_in_training(principle: SuitePrinciple) -> tuple[str, Draw]:
    """What the corpus calls it, and how its values are drawn: from the suite's own."""
    name = principle.name.removesuffix(NEW)
    if not principle.values:
        return name, draw_for_pairs
    return name, lambda rng, part: PART_BY_NAME[part].asking(rng.choice(principle.values))


def _prompts() -> Iterator[Prompt]:
    rng = random.Random(SEED)
    for number, topic in enumerate(HELD_OUT_TOPICS):
        split = Split.VALIDATION if number % VALIDATION_EVERY == 0 else Split.TEST
        for index in range(PROMPTS_PER_TOPIC):
            name = rng.choice(HELD_OUT_NAMES) if (number + index) % NAMED_EVERY == 0 else None
            yield Prompt(type="prompt", prompt=make_request(rng, topic, name).prompt, topic=(topic,), split=split)


def _examples(principle: SuitePrinciple) -> Iterator[Example]:
    """Answers that keep the principle, from pairs of their own."""
    name, draw = _as_in_training(principle)
    for number in range(NUM_EXAMPLES):
        value = principle.values[number] if principle.values else None
        with_value: Draw = draw if value is None else lambda _, part, value=value: PART_BY_NAME[part].asking(value)  # type: ignore[misc]
        (pair,) = preference_pairs(EXAMPLES_SEED + number, 1, (name,), with_value)
        yield Example(prompt=pair.prompt, text=pair.chosen, value=value)
