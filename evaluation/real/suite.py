"""What real models are asked: realistic prompts, and principles whose keeping is judged by code that is not ours.

Data on disk (`data/*.jsonl`), read and drawn from. Knows no model; judges are names here.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from evaluation.suite import Split, Text

DATA = Path(__file__).parent / "data"


class Direction(StrEnum):
    """Which way a principle moves its judge's number."""

    UP = "up"
    DOWN = "down"

    @property
    def sign(self) -> int:
        """1 for up, -1 for down."""
        return 1 if self is Direction.UP else -1


class RealPrompt(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Text
    kind: Text
    split: Split


class JudgedPrinciple(BaseModel):
    """A preference: how users word it, the judge whose number it should move, and which way.

    `seen` principles may be among those that a PersRM is trained on, with pairs that other judges made. `examples` are
    texts that keep the principle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    judge: Text
    direction: Direction
    seen: bool
    wordings: Annotated[tuple[Text, ...], Field(min_length=2)]
    examples: Annotated[tuple[Text, ...], Field(min_length=2)]


@dataclass(frozen=True)
class Asked:
    """One text to write: a prompt, a principle in one of its wordings, and another principle for the control."""

    prompt: RealPrompt
    principle: JudgedPrinciple
    wording: str
    wrong: str


@dataclass(frozen=True)
class RealSuite:
    """Prompts and principles."""

    prompts: tuple[RealPrompt, ...]
    principles: tuple[JudgedPrinciple, ...]

    def draw(self, split: Split, num_prompts: int, num_principles: int | None = None) -> list[Asked]:
        """So many prompts for every principle: others for each, always the same, and fewer are the first of more."""
        of_split = [prompt for prompt in self.prompts if prompt.split is split]
        asked = []
        for number, principle in enumerate(self.principles[:num_principles]):
            drawn = random.Random(f"{split} {principle.name}").sample(of_split, min(num_prompts, len(of_split)))
            wrong = self._wrong(number)
            for place, prompt in enumerate(drawn):
                wording = principle.wordings[place % len(principle.wordings)]
                asked.append(Asked(prompt, principle, wording, wrong.wordings[place % len(wrong.wordings)]))
        return asked

    def _wrong(self, number: int) -> JudgedPrinciple:
        """The next but two that another judge judges: neighbours in the file are each other's opposites."""
        principle = self.principles[number]
        later = [self.principles[(number + step) % len(self.principles)] for step in range(3, len(self.principles))]
        return next((other for other in later if other.judge != principle.judge), self.principles[number - 1])


def read_suite(folder: Path = DATA) -> RealSuite:
    """The suite that is shipped, or another of the same form."""
    prompts = TypeAdapter(RealPrompt)
    principles = TypeAdapter(JudgedPrinciple)
    return RealSuite(
        tuple(prompts.validate_json(line) for line in _lines(folder / "prompts.jsonl")),
        tuple(principles.validate_json(line) for line in _lines(folder / "principles.jsonl")),
    )


def _lines(path: Path) -> Sequence[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]
