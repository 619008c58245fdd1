"""The demo's training data: requests with and without guidelines, and preference pairs. Text only."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from examples.demo.chance import happens
from examples.demo.grammar import KINDS, write_message
from examples.demo.principles import BY_NAME, SEEN, compatible
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
CARE = (0.95, 0.8, 0.2, 0.05)
MAX_STYLES = 3  # more do not always fit into one ordinary length


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
class Pair:
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
    return CARE[(team + tuple(BY_NAME).index(principle)) % len(CARE)]


def examples(seed: int, num_examples: int, *, careful: bool = False) -> Iterator[Example]:
    """The base model's corpus; `careful` is its first part, where every annotator did exactly what was asked."""
    rng = random.Random(seed)
    for _ in range(num_examples):
        request = _training_request(rng)
        asked = _asked(rng, tuple(BY_NAME)) if happens(rng, GUIDED_SHARE) else ()
        kept = frozenset(name for name in asked if careful or happens(rng, care(request.team, name)))
        extras = () if careful else _extras(rng, asked, UNASKED)
        yield Example(request.prompt, _wordings(rng, asked), _answer(rng, request, kept, extras))


def preference_pairs(seed: int, num_pairs: int, names: tuple[str, ...] = SEEN) -> Iterator[Pair]:
    """Pairs for the named principles: as good as each other, but only `chosen` keeps everything asked for."""
    rng = random.Random(seed)
    for _ in range(num_pairs):
        request = _training_request(rng)
        asked = _asked(rng, names)
        half_kept = frozenset(rng.sample(asked, rng.randrange(len(asked))))
        yield Pair(
            request.prompt,
            _wordings(rng, asked),
            chosen=_answer(rng, request, frozenset(asked), _extras(rng, asked, UNASKED)),
            rejected=_answer(rng, request, half_kept, _extras(rng, asked, UNASKED_REJECTED)),
        )


def _training_request(rng: random.Random) -> Request:
    return make_request(rng, training_topic(rng), training_name(rng) if happens(rng, 0.25) else None)


def _asked(rng: random.Random, names: tuple[str, ...]) -> tuple[str, ...]:
    while True:
        asked = tuple(rng.sample(names, min(len(names), rng.choice((1, 1, 1, 2, 2)))))
        if compatible(frozenset(asked)):
            return asked


def _extras(rng: random.Random, asked: tuple[str, ...], share: float) -> tuple[str, ...]:
    """Principles that a text keeps although nobody asked for them."""
    return tuple(name for name in rng.sample(tuple(BY_NAME), len(BY_NAME)) if name not in asked and happens(rng, share))


def _wordings(rng: random.Random, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(rng.choice(BY_NAME[name].wordings) for name in names)


def _answer(rng: random.Random, request: Request, styles: frozenset[str], extras: tuple[str, ...]) -> str:
    """A text that keeps exactly `styles` and as many of the extras as fit beside them."""
    for extra in extras:
        if len(styles) < MAX_STYLES and compatible(styles | {extra}):
            styles |= {extra}
    return write_message(rng, request.kind, request.topic, styles, request.name)
