"""The suite on disk: prompts, principles with their rules, what to combine. Every malformed line is named at once.

One JSON object a line; `type` says what it is. The order of lines does not matter.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic import Field as Constrained

from evaluation.rules import PLACE, Check, Rule, contains

Text = Annotated[str, StringConstraints(min_length=1)]


class Split(StrEnum):
    """Settings are chosen on the validation prompts, and reported on the test prompts."""

    VALIDATION = "validation"
    TEST = "test"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class About(_Line):
    """What the suite is; printed at the top of the report."""

    type: Literal["about"]
    text: Text


class Prompt(_Line):
    """What a client asks for; every phrase of `topic` should stand in the answer."""

    type: Literal["prompt"]
    prompt: Text
    topic: tuple[Text, ...] = ()
    split: Split = Split.TEST

    def is_carried_by(self, text: str) -> bool:
        """Whether the text is still about what was asked for."""
        return all(contains(text, (phrase,)) for phrase in self.topic)


class Example(_Line):
    """An answer that keeps a principle, for the few-shot control; `value` is the one that it keeps it for, if any."""

    prompt: Text
    text: Text
    value: Text | None = None


class SuitePrinciple(_Line):
    """A preference: how users word it, the rule that checks it, and whether the policy was trained on it.

    With `values` it is many of one form, "mention the {value}" say: every wording and the rule have {value} in them.
    """

    type: Literal["principle"]
    name: Text
    wordings: Annotated[tuple[Text, ...], Constrained(min_length=1)]
    rule: Rule
    values: tuple[Text, ...] = ()
    seen: bool = True
    examples: tuple[Example, ...] = ()

    @model_validator(mode="after")
    def _values_have_their_places(self) -> Self:
        has_values = bool(self.values)
        if any((PLACE in wording) is not has_values for wording in self.wordings) or (
            self.rule.has_place is not has_values
        ):
            raise ValueError(f"with values, every wording and the rule say {PLACE}; without values, none does")
        if any((example.value is not None) is not has_values for example in self.examples):
            raise ValueError("with values, every example says which it keeps; without values, none does")
        return self

    def check(self, value: str | None) -> Check:
        """The rule as a function of a text."""
        return (self.rule if value is None else self.rule.with_value(value)).check()

    def says(self, wording: str) -> bool:
        """Whether the wording is one of this principle's, with one of its values."""
        return any(own.replace(PLACE, value) == wording for own in self.wordings for value in self.values or ("",))


class Combination(_Line):
    """Principles that are asked for at once and that the policy never saw together."""

    type: Literal["combination"]
    principles: Annotated[tuple[Text, ...], Constrained(min_length=2)]


class Opposites(_Line):
    """Two principles that pull apart: `mixture` sweeps its weights from one to the other."""

    type: Literal["opposites"]
    principles: tuple[Text, Text]


SuiteLine = About | Prompt | SuitePrinciple | Combination | Opposites
_LINE: TypeAdapter[SuiteLine] = TypeAdapter(Annotated[SuiteLine, Constrained(discriminator="type")])


class MalformedSuiteError(ValueError):
    """The suite cannot be run; `problems` has one (line number, reason) each, None where no single line is wrong."""

    def __init__(self, path: Path, problems: Sequence[tuple[int | None, str]]) -> None:
        self.path = path
        self.problems = tuple(problems)
        lines = "\n".join(f"  line {n}: {reason}" if n else f"  {reason}" for n, reason in problems)
        what = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{path} has {len(problems)} {what}:\n{lines}")


@dataclass(frozen=True)
class Suite:
    """A suite that can be run."""

    about: str
    prompts: tuple[Prompt, ...]
    principles: tuple[SuitePrinciple, ...]
    combinations: tuple[tuple[str, ...], ...]
    opposites: tuple[tuple[str, str], ...]

    def of_split(self, split: Split) -> tuple[Prompt, ...]:
        """The prompts of one split."""
        return tuple(prompt for prompt in self.prompts if prompt.split is split)

    def names(self, *, seen: bool) -> tuple[str, ...]:
        """The names of the principles that the policy was trained on, or was not."""
        return tuple(principle.name for principle in self.principles if principle.seen is seen)


def read_suite(path: Path) -> Suite:
    """The file's suite; raises MalformedSuiteError naming everything that is wrong with it. Blank lines are skipped."""
    numbered: list[tuple[int, SuiteLine]] = []
    problems: list[tuple[int | None, str]] = []
    for number, text in enumerate(_lines(path), start=1):
        if text.strip():
            try:
                numbered.append((number, _LINE.validate_json(text)))
            except ValidationError as error:
                problems.append((number, _reason(error)))
    problems += _contradictions(numbered, is_complete=not problems)
    if problems:
        raise MalformedSuiteError(path, sorted(problems, key=lambda problem: problem[0] or 0))
    lines = [line for _, line in numbered]
    return Suite(
        about="\n".join(line.text for line in lines if isinstance(line, About)),
        prompts=tuple(line for line in lines if isinstance(line, Prompt)),
        principles=tuple(line for line in lines if isinstance(line, SuitePrinciple)),
        combinations=tuple(line.principles for line in lines if isinstance(line, Combination)),
        opposites=tuple(line.principles for line in lines if isinstance(line, Opposites)),
    )


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise MalformedSuiteError(path, [(None, "it is not text in UTF-8")]) from error


def write_suite(path: Path, lines: Iterable[SuiteLine]) -> None:
    """Writes lines that `read_suite` reads."""
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line.model_dump_json(exclude_defaults=True) + "\n")


def _contradictions(
    numbered: Sequence[tuple[int, SuiteLine]], *, is_complete: bool
) -> Iterator[tuple[int | None, str]]:
    """What no line shows alone. A missing name is one only where every line could be read."""
    principles = [(number, line) for number, line in numbered if isinstance(line, SuitePrinciple)]
    names = [principle.name for _, principle in principles]
    for index, (number, principle) in enumerate(principles):
        if principle.name in names[:index]:
            yield number, f"principle {principle.name!r} is there twice"
    if not is_complete:
        return
    for number, line in numbered:
        if isinstance(line, Combination | Opposites):
            yield from ((number, f"there is no principle {name!r}") for name in line.principles if name not in names)
    if not names:
        yield None, "the suite has no principle"
    for split in Split:
        if not any(isinstance(line, Prompt) and line.split is split for _, line in numbered):
            yield None, f"the suite has no {split} prompt"


def _reason(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in problem["loc"])
        parts.append(f"{field}: {problem['msg']}" if field else problem["msg"])
    return "; ".join(parts)
