"""Writes a message of a kind about a topic in some styles. Draws from `phrases` and `cores`; trusts `principles`."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from types import MappingProxyType

from evaluation.rules import Rule
from examples.demo.chance import habitual, happens
from examples.demo.cores import CORES
from examples.demo.parts import AVOID, CLOSE, MENTION, OPEN, PART_BY_NAME, PHRASES
from examples.demo.phrases import (
    BODIES,
    CLOSERS,
    DETAILS,
    GREETINGS,
    MENTIONS,
    OPENERS,
    SHORT,
    SHORT_MENTIONS,
    SLOTS,
)
from examples.demo.principles import compatible, kept

KINDS = tuple(CORES)
_MAX_TRIES = 300
_NO_PARTS: Mapping[str, str] = MappingProxyType({})


def write_message(
    rng: random.Random,
    kind: str,
    topic: str,
    styles: AbstractSet[str],
    name: str | None = None,
    *,
    parts: Mapping[str, str] = _NO_PARTS,
) -> str:
    """A message that keeps exactly the styles, and the `parts` with their values; ValueError where no text can."""
    wanted = frozenset(styles)
    if not compatible(wanted):
        raise ValueError(f"no text keeps all of {sorted(wanted)}")
    rules = [PART_BY_NAME[part].asking(value) for part, value in parts.items()]
    for _ in range(_MAX_TRIES):
        text = _Draft(rng, kind, wanted, parts).write(topic, name)
        if kept(text) == wanted and all(rule.satisfies(text) for rule in rules):
            return text
    raise ValueError(f"no text about {topic!r} keeps exactly {sorted(wanted)} and {dict(parts)}")


def is_well_formed(text: str, topic: str, name: str | None = None) -> bool:
    """Whether the text is nothing but sentences of this grammar about the topic, whatever their order."""
    rest = text
    for greeting in {form.format(name=name) for forms in GREETINGS.values() for form in forms}:
        rest = rest.replace(greeting + " ", "", 1)
    return re.fullmatch(rf"(?:(?:{_sentence_pattern(topic)})(?: |$))+", rest, re.IGNORECASE) is not None


@cache
def _sentence_pattern(topic: str) -> str:
    slots = {slot: "(?:" + "|".join(map(re.escape, values)) + ")" for slot, values in SLOTS.items()}
    slots |= {"t": re.escape(topic), "x": r"[^.!?,]+"}
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
    yield from (*MENTIONS, *SHORT_MENTIONS)
    yield from (f"{phrase}." for phrase in PHRASES)


class _Draft:
    """One attempt at a message. A sentence with the word to avoid is not drawn; where none is left, its place is."""

    def __init__(self, rng: random.Random, kind: str, styles: frozenset[str], parts: Mapping[str, str]) -> None:
        self._rng = rng
        self._kind = kind
        self._styles = styles
        self._parts = parts
        avoided = parts.get(AVOID.name)
        self._is_allowed = Rule(not_contains=(avoided,)).check() if avoided else lambda _: True

    def write(self, topic: str, name: str | None) -> str:
        sentences = self._short_message() if "concise" in self._styles else self._message()
        text = self._greet(" ".join(sentences), name)
        phrases = (self._phrase(OPEN.name), text, self._phrase(CLOSE.name))
        return self._fill(" ".join(filter(None, phrases)), topic)

    def _message(self) -> list[str]:
        rng, styles = self._rng, self._styles
        openers: list[str] = []
        closers: list[str] = []
        inserted = [style for style in sorted(styles) if style in CLOSERS and style != "action"]
        rng.shuffle(inserted)
        for style in inserted:
            if style in OPENERS and not openers and happens(rng, 0.3):
                openers += self._draw(OPENERS[style])
            elif style != "formal" or happens(rng, 0.5):  # a formal core is formal enough
                closers += self._draw(CLOSERS[style])
        if "action" in styles:
            closers += self._draw(CLOSERS["action"])
        if not openers and happens(rng, 0.25):
            openers += self._draw(OPENERS["plain"])
        if not closers and happens(rng, 0.7):
            closers += self._draw(CLOSERS["plain"])
        core = self._core(self._register())
        return [*openers, *core, *self._middle(), *self._mention(MENTIONS), *closers]

    def _core(self, register: str) -> list[str]:
        sentence = self._draw(CORES[self._kind][register])
        if not sentence:
            raise ValueError(f"every {register} {self._kind} has the word {self._parts[AVOID.name]!r}")
        return sentence

    def _middle(self) -> list[str]:
        if "detailed" in self._styles:
            return [sentence for row in DETAILS[self._kind] for sentence in self._draw(row)]
        return self._draw(BODIES[self._kind]) if happens(self._rng, 0.75) else []

    def _register(self) -> str:
        if "formal" in self._styles:
            return "formal"
        return "playful" if "playful" in self._styles and happens(self._rng, 0.6) else "plain"

    def _short_message(self) -> list[str]:
        rng, styles = self._rng, self._styles
        core = self._core("short formal" if "formal" in styles else "short")
        pieces = {style: self._draw(SHORT[style]) for style in sorted(styles) if style in SHORT}
        first = pieces.pop("playful") if "playful" in pieces and happens(rng, 0.7) else []
        action = pieces.pop("action", [])
        rest = [*pieces.values(), self._mention(SHORT_MENTIONS)]
        rng.shuffle(rest)
        return [*first, *core, *(sentence for piece in rest for sentence in piece), *action]

    def _mention(self, sentences: Sequence[str]) -> list[str]:
        return self._draw(sentences) if MENTION.name in self._parts else []

    def _phrase(self, part: str) -> str:
        return f"{self._parts[part]}." if part in self._parts else ""

    def _greet(self, text: str, name: str | None) -> str:
        if name is None:
            return text
        register = next((style for style in ("formal", "playful") if style in self._styles), "plain")
        return f"{habitual(self._rng, GREETINGS[register]).format(name=name)} {text[0].lower()}{text[1:]}"

    def _draw(self, sentences: Sequence[str]) -> list[str]:
        """One of the sentences; none where all of them have the word to avoid."""
        allowed = [sentence for sentence in sentences if self._is_allowed(sentence)]
        return [habitual(self._rng, allowed)] if allowed else []

    def _fill(self, text: str, topic: str) -> str:
        def value(match: re.Match[str]) -> str:
            match match[1]:
                case "t":
                    return topic
                case "x":
                    return self._parts[MENTION.name]
                case slot:
                    return self._rng.choice(SLOTS[slot])

        return re.sub(r"\{(\w+)\}", value, text)
