"""What a submission is found to be: how many rows, and what is wrong with them. Decides on refusal."""

from api.errors import Findings, InvalidRequestError, LineError


class Inspection(Findings):
    """One reading of a submission, from its first row to its last."""

    def __init__(self, max_items: int) -> None:
        super().__init__()
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
