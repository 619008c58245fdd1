"""What a submission is found to be: how many rows, and what is wrong with them. Decides on refusal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from api.http.errors import Findings, InvalidRequestError, LineError


@dataclass(slots=True)
class AudienceFindings:
    """What became of a campaign's audience."""

    num_skipped: int = 0
    skipped: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    """Users and what they lack: those that may be named, and not more than an answer names."""
    num_defaulted: Counter[str] = field(default_factory=Counter)
    """How many users with an item have no text in an attribute, so that its default stands there; by the attribute."""
    num_excluded: int = 0
    unknown_excluded: Sequence[str] = ()


class Inspection(Findings):
    """One reading of a submission, from its first row to its last."""

    def __init__(self, max_items: int) -> None:
        super().__init__()
        self.audience: AudienceFindings | None = None
        """Where the submission has one."""
        self._max_items = max_items
        self._num_rows = 0

    def count_row(self) -> None:
        """Note one more row; refuses the job at the first row too many."""
        self._num_rows += 1
        if self._num_rows > self._max_items:
            message = f"A job may have at most {self._max_items} items."
            raise InvalidRequestError(message, errors=[LineError("too_many_items", message, "")])

    def conclude(self) -> None:
        """Refuse the job if anything was wrong with it, or if there was nothing in it."""
        if not self._num_rows and not self.num_errors:
            self.add(LineError("no_items", "A job needs at least one item.", ""))
        self.raise_if_any()
