"""Texts on their way to who listens while they grow, piece by piece. Pure values."""

from typing import NamedTuple


class Piece(NamedTuple):
    """A part of one answer to an item that somebody listens to."""

    listener: str
    """The name of the client that listens (`listener_of`)."""
    attempt: int
    """In which attempt at the item it was written."""
    choice: int
    """To which of the item's answers it belongs."""
    offset: int
    """How many characters stand in front of it."""
    text: str
