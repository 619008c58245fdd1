"""The demo's training data: requests with and without guidelines, and preference pairs. Text only."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evaluation.rules import contains
from examples.demo.chance import happens
from examples.demo.grammar import KINDS, write_message
from examples.demo.parts import AVOID, PART_BY_NAME, SEEN_PARTS, training_principle
from examples.demo.principles import BY_NAME, SEEN, DemoPrinciple, compatible
from examples.demo.topics import training_name, training_topic

# Requests by the team that sends them: each team has its own way to ask.
TEAM_PHRASINGS = (
    (
        "Write {kind} about {about}{to}.",
        "Please write {kind} about {about}{to}.",
        "Write {kind} on {about}{to}.",
        "Write {kind}{to}. It is about {about}.",
        "Topic: {about}. Write {kind}{to}.",
    ),
    (
        "Create {kind} about {about}{to}.",
        "Draft {kind} about {about}{to}.",
        "Compose {kind} on {about}{to}.",
        "Prepare {kind} about {about}{to}.",
        "Make {kind} about {about}{to}.",
    ),
    (
        "I need {kind} about {about}{to}.",
        "We need {kind} on {about}{to}.",
        "Give me {kind} about {about}{to}.",
        "Let us have {kind} about {about}{to}.",
        "I want {kind} on {about}{to}.",
    ),
    (
        "Could you write {kind} about {about}{to}?",
        "Can you draft {kind} about {about}{to}?",
        "Help me write {kind} about {about}{to}.",
        "Send {kind} about {about}{to}.",
        "Please send {kind}{to} about {about}.",
    ),
)
KIND_WORDS = {
    "update": ("a product update", "an update", "some product news"),
    "reminder": ("a reminder", "a reminder message"),
    "tip": ("a tip", "a useful tip", "some advice"),
}
DETERMINERS = ("", "", "the ", "our ", "our new ", "your ")

GUIDED_SHARE = 0.75  # of the examples have guidelines
# How often an ordinary, unasked text keeps a principle; in the rejected half of a pair, a little more often.
UNASKED = 0.1
UNASKED_REJECTED = 0.2
# How often a team's annotators keep a principle when asked to: some nearly always, some hardly at all.
CARE = (0.9, 0.7, 0.2, 0.05)
NUM_ASKED = (1, 1, 2, 2, 3)
MAX_KEPT = 3  # more principles do not always fit into one ordinary length

ALL_NAMES = (*BY_NAME, *PART_BY_NAME)
ALL_SEEN = (*SEEN, *SEEN_PARTS)
# What to leave out is harder to learn than what to say: it is asked for more often than anything else.
_SHARES = {AVOID.name: 3}
# Each in many pairs, but no two of them in one: asked for together, they are an unseen combination.
UNSEEN_TOGETHER = (
    frozenset({"formal", "action"}),
    frozenset({"playful", "beginner"}),
    frozenset({"concise", "question"}),
    frozenset({"detailed", "mention"}),
    frozenset({"open with", "avoid"}),
)


@dataclass(frozen=True)
class Request:
    """What a client submits: the prompt, and what it was made from."""

    prompt: str
    kind: str
    topic: str
    name: str | None
    team: int


@dataclass(frozen=True)
class Example:
    """One training conversation; `principles` are the wordings in its guidelines."""

    prompt: str
    principles: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class TrainingPair:
    """Two answers to one request, of which only `chosen` keeps every principle."""

    prompt: str
    principles: tuple[str, ...]
    chosen: str
    rejected: str


def make_request(rng: random.Random, topic: str, name: str | None = None) -> Request:
    """A request for a message about the topic, in one of many phrasings."""
    kind = rng.choice(KINDS)
    team = rng.randrange(len(TEAM_PHRASINGS))
    prompt = rng.choice(TEAM_PHRASINGS[team]).format(
        kind=rng.choice(KIND_WORDS[kind]),
        about=rng.choice(DETERMINERS) + topic,
        to="" if name is None else f" for {name}",
    )
    return Request(prompt, kind, topic, name, team)


def care(team: int, principle: str) -> float:
    """How often this team's annotators kept the principle when asked to; each principle has careful and careless teams.

    So the base model learns to follow guidelines here and to neglect them there, as small models do.
    """
    return CARE[(team + ALL_NAMES.index(principle)) % len(CARE)]


Draw = Callable[[random.Random, str], DemoPrinciple]
"""Draws the principle of a name, with a value if it has one."""


def draw_for_examples(rng: random.Random, name: str) -> DemoPrinciple:
    """As the base model's corpus asks for it."""
    return BY_NAME[name] if name in BY_NAME else training_principle(rng, PART_BY_NAME[name], in_pairs=False)


def draw_for_pairs(rng: random.Random, name: str) -> DemoPrinciple:
    """As the PersRM's pairs ask for it."""
    return BY_NAME[name] if name in BY_NAME else training_principle(rng, PART_BY_NAME[name], in_pairs=True)


def examples(seed: int, num_examples: int, *, careful: bool = False) -> Iterator[Example]:
    """The base model's corpus; `careful` is its first part, where every annotator did exactly what was asked."""
    rng = random.Random(seed)
    for _ in range(num_examples):
        request = _training_request(rng)
        asked = _asked(rng, request, ALL_NAMES, draw_for_examples) if happens(rng, GUIDED_SHARE) else ()
        kept = [one for one in asked if careful or happens(rng, care(request.team, one.name))]
        extras = () if careful else _extras(rng, asked, UNASKED)
        yield Example(request.prompt, _wordings(rng, asked), _answer(rng, request, kept, extras))


def preference_pairs(
    seed: int, num_pairs: int, names: tuple[str, ...] = ALL_SEEN, draw: Draw = draw_for_pairs
) -> Iterator[TrainingPair]:
    """Pairs for the named principles: as good as each other, but only `chosen` keeps everything asked for."""
    rng = random.Random(seed)
    num_made = 0
    while num_made < num_pairs:
        request = _training_request(rng)
        asked = _asked(rng, request, names, draw, apart=UNSEEN_TOGETHER)
        half_kept = rng.sample(asked, rng.randrange(len(asked)))
        pair = TrainingPair(
            request.prompt,
            _wordings(rng, asked),
            chosen=_answer(rng, request, asked, _extras(rng, asked, UNASKED)),
            rejected=_answer(rng, request, half_kept, _extras(rng, asked, UNASKED_REJECTED)),
        )
        if not all(principle.satisfies(pair.rejected) for principle in asked):  # a word can be avoided by chance
            yield pair
            num_made += 1


def _training_request(rng: random.Random) -> Request:
    return make_request(rng, training_topic(rng), training_name(rng) if happens(rng, 0.25) else None)


def _asked(
    rng: random.Random, request: Request, names: tuple[str, ...], draw: Draw, apart: Sequence[frozenset[str]] = ()
) -> tuple[DemoPrinciple, ...]:
    """Up to three principles that one text about the request's topic can keep, and no two that are to be apart."""
    while True:
        shares = [_SHARES.get(name, 1) for name in names]
        chosen = frozenset(rng.sample(names, min(len(names), rng.choice(NUM_ASKED)), counts=shares))
        if not compatible(chosen) or any(pair <= chosen for pair in apart):
            continue
        asked = tuple(draw(rng, name) for name in sorted(chosen))
        if _can_be_kept(asked, request):
            return tuple(rng.sample(asked, len(asked)))


def _can_be_kept(asked: Sequence[DemoPrinciple], request: Request) -> bool:
    """Whether the word to avoid, if any, is in nothing that the text has to say."""
    needed = [request.topic, request.name or "", *(one.value for one in asked if one.name != AVOID.name and one.value)]
    avoided = [one.value for one in asked if one.name == AVOID.name and one.value]
    return not any(contains(words, (word,)) for word in avoided for words in needed)


def _extras(rng: random.Random, asked: Sequence[DemoPrinciple], share: float) -> tuple[str, ...]:
    """Styles that a text keeps although nobody asked for them."""
    names = {principle.name for principle in asked}
    return tuple(name for name in rng.sample(tuple(BY_NAME), len(BY_NAME)) if name not in names and happens(rng, share))


def _wordings(rng: random.Random, asked: Sequence[DemoPrinciple]) -> tuple[str, ...]:
    return tuple(rng.choice(principle.wordings) for principle in asked)


def _answer(rng: random.Random, request: Request, principles: Sequence[DemoPrinciple], extras: tuple[str, ...]) -> str:
    """A text that keeps exactly the principles and as many of the extra styles as fit beside them."""
    styles = frozenset(one.name for one in principles if one.value is None)
    parts = {one.name: one.value for one in principles if one.value is not None}
    for extra in extras:
        if len(styles) + len(parts) < MAX_KEPT and compatible(styles | {extra}):
            styles |= {extra}
    return write_message(rng, request.kind, request.topic, styles, request.name, parts=parts)
