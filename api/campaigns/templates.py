"""Prompts with placeholders: `{name}` and `{name|default}`. Pure; knows no profile, only names and values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from api.profiles.schemas import MAX_ATTRIBUTES

MAX_NAMES = MAX_ATTRIBUTES + 1  # the attributes of a profile, and `user_id`
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
# Plain names alone: no attribute, no index, no conversion, no format. Whatever else has a brace is refused.
_TOKEN = re.compile(rf"\{{\{{|\}}\}}|\{{({_NAME})(?:\|([^{{}}]*))?\}}|[{{}}]")
_DOUBLED = re.compile(rf"(?<!\{{)\{{\{{\s*({_NAME})\s*(?:\|[^{{}}]*)?\}}\}}(?!\}})")
_DEFAULT_BEGUN = re.compile(rf"\{{{_NAME}\|")


class TemplateError(ValueError):
    """The prompt has a brace that is neither part of a placeholder nor doubled, or more names than a profile has."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A placeholder: whose value stands there, and what does where that is missing or blank."""

    name: str
    default: str | None = None

    def text(self, values: Mapping[str, str]) -> str:
        """What stands there; KeyError where nothing does."""
        if self.default is None:
            return values[self.name]
        return values[self.name] if self.has_text(values) else self.default

    def has_text(self, values: Mapping[str, str]) -> bool:
        """Whether there is a value that is not blank."""
        return bool(values.get(self.name, "").strip())


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt cut into texts and the placeholders between them: `texts[0] + slots[0] + texts[1] + ...`."""

    texts: tuple[str, ...]
    slots: tuple[Slot, ...]
    doubled: tuple[str, ...] = ()
    """Names between doubled braces: text, unless an attribute of that name was meant."""

    def missing(self, values: Mapping[str, str]) -> list[str]:
        """The names without a value and without a default, each once."""
        needed = dict.fromkeys(slot.name for slot in self.slots if slot.default is None)
        return [name for name in needed if name not in values]

    def defaulted(self, values: Mapping[str, str]) -> set[str]:
        """The names in whose place a default stands."""
        return {slot.name for slot in self.slots if slot.default is not None and not slot.has_text(values)}

    def num_characters(self, values: Mapping[str, str]) -> int:
        """How long the prompt is once it is expanded."""
        return sum(map(len, self.texts)) + sum(len(slot.text(values)) for slot in self.slots)

    def expand(self, values: Mapping[str, str]) -> str:
        """The prompt with every placeholder replaced; a value is text and is never looked into."""
        filled = (slot.text(values) + text for slot, text in zip(self.slots, self.texts[1:], strict=True))
        return self.texts[0] + "".join(filled)


def parse_template(prompt: str) -> Template:
    """The template that a prompt stands for; `{{` and `}}` are braces. Raises `TemplateError`.

    A default is what stands between the first `|` and the brace that ends the placeholder, spaces and further bars
    included; a brace cannot be in it.
    """
    texts, slots, end = [""], list[Slot](), 0
    for token in _TOKEN.finditer(prompt):
        texts[-1] += prompt[end : token.start()]
        end = token.end()
        if token[1] is not None:
            slots.append(Slot(token[1], token[2]))
            texts.append("")
        elif len(token[0]) == 2:  # noqa: PLR2004 - a doubled brace
            texts[-1] += token[0][0]
        else:
            raise TemplateError(_wrong_brace(prompt, token.start()))
    texts[-1] += prompt[end:]
    if len({slot.name for slot in slots}) > MAX_NAMES:
        raise TemplateError(f"The prompt has more than {MAX_NAMES} names; no profile has values for so many.")
    return Template(tuple(texts), tuple(slots), tuple(dict.fromkeys(found[1] for found in _DOUBLED.finditer(prompt))))


def _wrong_brace(prompt: str, place: int) -> str:
    if _DEFAULT_BEGUN.match(prompt, place):
        return f"The default that begins at character {place + 1} holds a brace, or does not end: it is plain text."
    return (
        f"The brace at character {place + 1} is not part of a {{name}} or {{name|default}}; write it twice to mean it."
    )
