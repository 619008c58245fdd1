"""Writes a message of a kind about a topic in a set of styles. Draws from `phrases`, trusts `principles` alone."""

import random
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cache

from examples.demo.chance import habitual, happens
from examples.demo.phrases import BODIES, CLOSERS, CORES, DETAILS, GREETINGS, OPENERS, SHORT, SLOTS
from examples.demo.principles import compatible, kept

KINDS = tuple(CORES)
_MAX_TRIES = 300


def write_message(rng: random.Random, kind: str, topic: str, styles: AbstractSet[str], name: str | None = None) -> str:
    """A message that keeps exactly the principles in `styles`; raises ValueError where no text can."""
    wanted = frozenset(styles)
    if not compatible(wanted):
        raise ValueError(f"no text keeps all of {sorted(wanted)}")
    for _ in range(_MAX_TRIES):
        sentences = _short_message(rng, kind, wanted) if "concise" in wanted else _message(rng, kind, wanted)
        text = _fill(rng, _greet(rng, " ".join(sentences), wanted, name), topic)
        if kept(text) == wanted:
            return text
    raise ValueError(f"no text about {topic!r} keeps exactly {sorted(wanted)}")


def is_well_formed(text: str, topic: str, name: str | None = None) -> bool:
    """Whether the text is nothing but sentences of this grammar about the topic, whatever their order."""
    rest = text
    for greeting in {form.format(name=name) for forms in GREETINGS.values() for form in forms}:
        rest = rest.removeprefix(greeting + " ")
    return re.fullmatch(rf"(?:(?:{_sentence_pattern(topic)})(?: |$))+", rest, re.IGNORECASE) is not None


@cache
def _sentence_pattern(topic: str) -> str:
    slots = {slot: "(?:" + "|".join(map(re.escape, values)) + ")" for slot, values in SLOTS.items()}
    slots["t"] = re.escape(topic)
    patterns = []
    for sentence in _all_sentences():
        parts = re.split(r"\{(\w+)\}", sentence)  # text and slot names in turn
        patterns.append("".join(slots[part] if index % 2 else re.escape(part) for index, part in enumerate(parts)))
    return "|".join(patterns)


def _all_sentences() -> Iterator[str]:
    for registers in CORES.values():
        for sentences in registers.values():
            yield from sentences
    for rows in DETAILS.values():
        for row in rows:
            yield from row
    for table in (BODIES, OPENERS, CLOSERS, SHORT):
        for sentences in table.values():
            yield from sentences


def _message(rng: random.Random, kind: str, styles: frozenset[str]) -> list[str]:
    openers: list[str] = []
    closers: list[str] = []
    inserted = [style for style in sorted(styles) if style in CLOSERS and style != "action"]
    rng.shuffle(inserted)
    for style in inserted:
        if style in OPENERS and not openers and happens(rng, 0.3):
            openers.append(habitual(rng, OPENERS[style]))
        elif style != "formal" or happens(rng, 0.5):  # a formal core is formal enough
            closers.append(habitual(rng, CLOSERS[style]))
    if "action" in styles:
        closers.append(habitual(rng, CLOSERS["action"]))
    if not openers and happens(rng, 0.25):
        openers.append(habitual(rng, OPENERS["plain"]))
    if not closers and happens(rng, 0.7):
        closers.append(habitual(rng, CLOSERS["plain"]))
    return [*openers, habitual(rng, CORES[kind][_register(rng, styles)]), *_middle(rng, kind, styles), *closers]


def _middle(rng: random.Random, kind: str, styles: frozenset[str]) -> list[str]:
    if "detailed" in styles:
        return [habitual(rng, row) for row in DETAILS[kind]]
    return [habitual(rng, BODIES[kind])] if happens(rng, 0.75) else []


def _register(rng: random.Random, styles: frozenset[str]) -> str:
    if "formal" in styles:
        return "formal"
    return "playful" if "playful" in styles and happens(rng, 0.6) else "plain"


def _short_message(rng: random.Random, kind: str, styles: frozenset[str]) -> list[str]:
    core = habitual(rng, CORES[kind]["short formal" if "formal" in styles else "short"])
    pieces = {style: habitual(rng, SHORT[style]) for style in sorted(styles) if style in SHORT}
    first = [pieces.pop("playful")] if "playful" in pieces and happens(rng, 0.7) else []
    action = [pieces.pop("action")] if "action" in pieces else []
    rest = list(pieces.values())
    rng.shuffle(rest)
    return [*first, core, *rest, *action]


def _greet(rng: random.Random, text: str, styles: frozenset[str], name: str | None) -> str:
    if name is None:
        return text
    register = next((style for style in ("formal", "playful") if style in styles), "plain")
    return f"{habitual(rng, GREETINGS[register]).format(name=name)} {text[0].lower()}{text[1:]}"


def _fill(rng: random.Random, text: str, topic: str) -> str:
    def value(match: re.Match[str]) -> str:
        return topic if match[1] == "t" else rng.choice(SLOTS[match[1]])

    return re.sub(r"\{(\w+)\}", value, text)
