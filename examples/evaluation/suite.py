"""The demo's world as a suite: held-out topics, the principles' own rules, and pairs that no training has seen."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from examples.demo.corpus import examples as training_examples
from examples.demo.corpus import make_request, preference_pairs
from examples.demo.principles import BY_NAME, EXCLUSIVE, PRINCIPLES, SEEN
from examples.demo.topics import HELD_OUT_NAMES, HELD_OUT_TOPICS
from worker.persrm.evaluation.suite import (
    About,
    Combination,
    Example,
    Opposites,
    Principle,
    Prompt,
    Split,
    SuiteLine,
    write_suite,
)

SEED = 601
EXAMPLES_SEED = 607
PAIRS_SEED = 613
PROMPTS_PER_TOPIC = 5
VALIDATION_EVERY = 4
"""Every fourth topic is for validation; no topic is in both splits."""
NAMED_EVERY = 4
NUM_EXAMPLES = 2
PAIRS_PER_PRINCIPLE = 40

# Training asked for one or two principles at a time, so no three of them; the last four join a held-out one.
COMBINATIONS = (
    ("formal", "concise", "action"),
    ("playful", "beginner", "question"),
    ("formal", "detailed", "question"),
    ("concise", "beginner", "action"),
    ("playful", "detailed", "action"),
    ("formal", "warm"),
    ("concise", "warm"),
    ("urgent", "action"),
    ("playful", "urgent"),
)
ABOUT = """What guidance does to the demo's models (`examples/demo/model`): a base of 3.5 M parameters, trained from
scratch on the messages of a small grammar, and a LoRA PersRM trained by DPO on pairs of them. Every claim below is
about such models and such messages, and about nothing larger.

Prompts name topics that no model has met in training, two in three of them made-up words; no topic is both in test and
in validation prompts. The base follows guidelines as carelessly as the annotators of its corpus: `prompt only` is what
that gets. It has never read a conversation of more than one turn, so that examples in context are beyond it. `warm` and
`urgent` are in the base's corpus, and in none of the pairs that the PersRM was trained on. Judge, independent language
model, tuned adapters and other bases were trained on examples of seeds of their own (`examples/evaluation`); the other
bases on 14,000 where the demo's own base had 48,000, which is enough for styles and too little to spell new topics."""


def write_demo_suite(path: Path) -> None:
    """The suite file."""
    write_suite(path, _lines())


def write_demo_pairs(path: Path) -> None:
    """Held-out preference pairs for one principle each, those that the PersRM never saw included."""
    with path.open("w", encoding="utf-8") as lines:
        for index, name in enumerate(BY_NAME):
            for pair in preference_pairs(PAIRS_SEED + index, PAIRS_PER_PRINCIPLE, (name,)):
                lines.write(json.dumps(asdict(pair)) + "\n")


def _lines() -> Iterator[SuiteLine]:
    yield About(type="about", text=ABOUT)
    for principle in PRINCIPLES:
        yield Principle(
            type="principle",
            name=principle.name,
            wordings=principle.wordings,
            rule=principle.rule,
            seen=principle.name in SEEN,
            examples=tuple(_examples(principle.name)),
        )
    for names in COMBINATIONS:
        yield Combination(type="combination", principles=names)
    for pair in EXCLUSIVE:
        first, second = sorted(pair)
        yield Opposites(type="opposites", principles=(first, second))
    yield from _prompts()


def _prompts() -> Iterator[Prompt]:
    rng = random.Random(SEED)
    for number, topic in enumerate(HELD_OUT_TOPICS):
        split = Split.VALIDATION if number % VALIDATION_EVERY == 0 else Split.TEST
        for index in range(PROMPTS_PER_TOPIC):
            name = rng.choice(HELD_OUT_NAMES) if (number + index) % NAMED_EVERY == 0 else None
            yield Prompt(type="prompt", prompt=make_request(rng, topic, name).prompt, topic=(topic,), split=split)


def _examples(name: str) -> Iterator[Example]:
    """Answers that keep the principle, from a corpus of their own."""
    keeps = BY_NAME[name].satisfies
    found = 0
    for example in training_examples(EXAMPLES_SEED, 4_000, careful=True):
        if example.principles in {(wording,) for wording in BY_NAME[name].wordings} and keeps(example.answer):
            yield Example(prompt=example.prompt, text=example.answer)
            found += 1
            if found == NUM_EXAMPLES:
                return
