"""How principles are written into a conversation: a model's *format*, which is data. Knows text; no model, no method.

Training, evaluation and serving use the same functions. The wordings were chosen on real models by reading what they
write: docs/decisions/0013-how-principles-are-shown.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

Role = Literal["system", "user"]

_FIELDS = {"role", "template", "separator", "ordinary"}
_PLACEHOLDER = re.compile(r"\{(principles|prompt)\}")
# What the released wording is made of: in a principle, these would begin a section of their own.
_SECTION = re.compile(r"\[\s*(guidelines|principles|instruction)\s*\]", re.IGNORECASE)


class Message(TypedDict):
    """One chat turn."""

    role: str
    content: str
    behind_default: NotRequired[bool]
    """Whether a first system turn stands behind the one that the template writes by itself where there is none."""


class FormatError(ValueError):
    """A format that says no way to show principles; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to show principles to a model.

    Of the role "user", the template is the last user turn: `{principles}` and `{prompt}`, the client's own words, stand
    in it. Of the role "system", it is what the system turn says behind the client's own: `{principles}` alone.
    """

    name: str
    role: Role
    template: str
    separator: str = "; "
    """Between several principles."""
    ordinary: str | None = "ordinary"
    """A principle that asks for nothing: shown in the prompt that `contrast` moves away from, so that the format's own
    words cancel and only what the principles say is left. None: that prompt shows no principles at all."""

    def __post_init__(self) -> None:
        """Raise FormatError for a template that would leave out the principles or the prompt."""
        wanted = {"principles"} if self.role == "system" else {"principles", "prompt"}
        found = _PLACEHOLDER.findall(self.template)
        if sorted(found) != sorted(wanted):
            names = " and ".join(f"{{{name}}}" for name in sorted(wanted))
            raise FormatError(f"A template of the role `{self.role}` holds {names}, each once: {self.template!r}.")

    @property
    def body(self) -> str | dict[str, str | None]:
        """As the card has it: the name of a built-in format, or the template."""
        if self == BUILT_IN.get(self.name):
            return self.name
        return {name: getattr(self, name) for name in ("role", "template", "separator", "ordinary")}

    @classmethod
    def from_body(cls, body: object) -> "Format":
        """The format that a card names or spells; raises FormatError."""
        if isinstance(body, str):
            if body not in BUILT_IN:
                raise FormatError(
                    f"There is no format {body!r}: name one of {', '.join(BUILT_IN)}, or give a template."
                )
            return BUILT_IN[body]
        if not isinstance(body, Mapping) or not {"role", "template"} <= set(body) <= _FIELDS:
            message = "A format is a name, or an object of `role`, `template` and, if wanted, `separator`, `ordinary`."
            raise FormatError(message)
        role, others = body["role"], {name: value for name, value in body.items() if name != "role"}
        texts = [value for name, value in others.items() if (name, value) != ("ordinary", None)]
        if role not in ("system", "user") or not all(isinstance(text, str) for text in texts):
            message = (
                "A format's `role` is system or user; its `template` and `separator` are texts, and so is `ordinary`, "
                "or null."
            )
            raise FormatError(message)
        return cls("own", role, **others)

    def shown(self, principles: Sequence[str]) -> str:
        """The principles as one text in one line; what spells a section of the released wording only looks like it."""
        return self.separator.join(_SECTION.sub(r"(\1)", " ".join(text.split())) for text in principles)

    def filled(self, principles: Sequence[str], prompt: str = "") -> str:
        """The template with principles and prompt in it; neither is looked into for placeholders."""
        values = {"principles": self.shown(principles), "prompt": prompt}
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.template)


# The wording of PAD's released models (Chen et al., ICLR 2025): a PersRM sees a preference as this text alone. Several
# principles are joined by "and", as in PAD's own evaluation ("harmless and humor"). Without principles it shows none: a
# model of this wording was trained on nothing like "ordinary".
PAD = Format(
    "pad",
    "user",
    "[Guidelines] Your task is to generate response by considering the following principle. "
    "[Principles] {principles} [Instruction] {prompt}",
    separator=" and ",
    ordinary=None,
)
SYSTEM = Format("system", "system", "Follow this style in every answer: {principles}.")
INSTRUCTION = Format("instruction", "user", "{prompt}\n\nStyle: {principles}.")
BUILT_IN = {format.name: format for format in (PAD, SYSTEM, INSTRUCTION)}


EXAMPLE_REQUEST = "Write a short text."
"""What the user is said to have asked when an example was written."""


def with_examples(messages: Sequence[Message], examples: Sequence[str]) -> list[Message]:
    """The conversation behind earlier turns in which the model, it seems, wrote the examples."""
    turns = [
        turn
        for example in examples
        for turn in (Message(role="user", content=EXAMPLE_REQUEST), Message(role="assistant", content=example))
    ]
    start = 1 if messages[0]["role"] == "system" else 0
    return [*messages[:start], *turns, *messages[start:]]


def with_principles(messages: Sequence[Message], principles: Sequence[str], format: Format) -> list[Message]:
    """The conversation with the principles shown in it; unchanged where there are none.

    The client's own system turn is kept, and the principles stand behind it; without one they stand behind the model's
    own, so that the conversation with principles differs from the one without in nothing but them.
    """
    if not principles:
        return list(messages)
    if format.role == "system":
        return _with_system(messages, format.filled(principles))
    last_user = max(index for index, message in enumerate(messages) if message["role"] == "user")
    turn = Message(role="user", content=format.filled(principles, messages[last_user]["content"]))
    return [*messages[:last_user], turn, *messages[last_user + 1 :]]


def with_ordinary(messages: Sequence[Message], format: Format) -> list[Message]:
    """The conversation as the format shows it where nothing in particular is asked for."""
    return with_principles(messages, [] if format.ordinary is None else [format.ordinary], format)


def _with_system(messages: Sequence[Message], text: str) -> list[Message]:
    if messages[0]["role"] == "system":
        own = messages[0]["content"]
        return [Message(role="system", content=f"{own}\n\n{text}" if own.strip() else text), *messages[1:]]
    return [Message(role="system", content=text, behind_default=True), *messages]
