"""What a submission is found to be: how many rows, and everything that is wrong with them. Decides on refusal."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from api.errors import InvalidRequestError, LineError
from api.problems import MAX_ERRORS_SHOWN

# Stands for an error beyond those that are shown: it counts, and its text would only cost memory.
NOT_SHOWN: Final = LineError(code="not_shown", message="", pointer="")


@dataclass(slots=True)
class Inspection:
    """One reading of a submission, from its first row to its last."""

    max_items: int
    num_rows: int = 0
    errors: list[LineError] = field(default_factory=list)

    def count_row(self) -> None:
        """Note one more row; refuses the job at the first row too many."""
        self.num_rows += 1
        if self.num_rows > self.max_items:
            message = f"A job may have at most {self.max_items} items."
            raise InvalidRequestError(message, errors=[LineError("too_many_items", message, "/items")])

    def add(self, *errors: LineError) -> None:
        """Note what is wrong."""
        self.extend(errors)

    def extend(self, errors: Iterable[LineError]) -> None:
        """Note what is wrong; beyond what is shown, only how much."""
        for error in errors:
            self.errors.append(error if len(self.errors) < MAX_ERRORS_SHOWN else NOT_SHOWN)

    def conclude(self, *, empty: LineError) -> None:
        """Refuse the job if anything was wrong with it, or if it was `empty`."""
        if not self.num_rows and not self.errors:
            self.add(empty)
        if not self.errors:
            return
        num_errors = len(self.errors)
        counted = "1 thing is wrong with it" if num_errors == 1 else f"{num_errors} things are wrong with it"
        listed = f", the first {MAX_ERRORS_SHOWN} are listed" if num_errors > MAX_ERRORS_SHOWN else ""
        raise InvalidRequestError(f"The job was refused and nothing was stored: {counted}{listed}.", errors=self.errors)
