"""Preference pairs on disk: one JSON object a line. Every malformed line is named before anything is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from pydantic import Field as Constrained

from worker.persrm.errors import TrainingError

Text = Annotated[str, StringConstraints(min_length=1)]


class MalformedPairsError(TrainingError):
    """Pairs that cannot be trained on; `problems` has one (line number, reason) each."""

    def __init__(self, path: Path, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  line {number}: {reason}" for number, reason in problems)
        what = "line" if len(self.problems) == 1 else "lines"
        super().__init__(f"{path} has {len(self.problems)} malformed {what}:\n{lines}")


class PreferencePair(BaseModel):
    """Two answers to one prompt; `chosen` is the one that keeps the principles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Text
    principles: Annotated[tuple[Text, ...], Constrained(min_length=1)]
    chosen: Text
    rejected: Text

    @model_validator(mode="after")
    def _the_answers_differ(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected are the same text")
        return self


def read_pairs(path: Path) -> list[PreferencePair]:
    """The file's pairs; raises MalformedPairsError naming every bad line. Blank lines are skipped."""
    pairs: list[PreferencePair] = []
    problems: list[tuple[int, str]] = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    pairs.append(PreferencePair.model_validate_json(line))
                except ValidationError as error:
                    problems.append((number, _reason(error)))
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is not text in UTF-8.") from error
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    if problems:
        raise MalformedPairsError(path, problems)
    if not pairs:
        raise MalformedPairsError(path, [(1, "the file has no pairs")])
    return pairs


def _reason(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in problem["loc"])
        parts.append(f"{field}: {problem['msg']}" if field else problem["msg"])
    return "; ".join(parts)
