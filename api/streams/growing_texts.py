"""What a client is sent of the answers to one item while they grow. Pure: no Redis, no SQL, no vendor's form.

Pieces are a hint, and the stored result decides: what is sent, joined, is that result or an error. An attempt that is
begun again says the same from the start, and nothing is sent twice.
"""

from collections.abc import Sequence
from typing import NamedTuple

from api.http.errors import OverloadedError
from domain.text_pieces import Piece


class TextChangedError(OverloadedError):
    """The answer was begun again and came out differently from what was already sent: ask again."""

    status = 500
    code = "text_changed"
    title = "Text changed"


class NewText(NamedTuple):
    """Text that a client has not been sent yet, and the answer (0 to n - 1) to which it belongs."""

    choice: int
    text: str


class GrowingTexts:
    """The texts of one item while they grow: what was heard of them, and what of it was sent."""

    def __init__(self) -> None:
        self._attempt = 0
        self._heard: dict[int, str] = {}
        """Texts by choice, as far as the newest attempt has written them."""
        self._sent: dict[int, str] = {}

    def hear(self, pieces: Sequence[Piece]) -> list[NewText]:
        """The texts that `pieces` add to what was sent; raises TextChangedError where they contradict it."""
        changed = dict.fromkeys(choice for piece in pieces if (choice := self._hear(piece)) is not None)
        return self._new({choice: self._heard[choice] for choice in changed})

    def end(self, texts: Sequence[str]) -> list[NewText]:
        """What the stored result adds, with which all of it is sent. Raises TextChangedError."""
        self._attempt, self._heard = 0, {}
        return self._new(dict(enumerate(texts)), is_all=True)

    def _hear(self, piece: Piece) -> int | None:
        """Add a piece to its text; its choice, or None where it comes from an older attempt or leaves a gap."""
        if piece.attempt < self._attempt:
            return None  # of a worker that does not know yet that it has lost the item
        if piece.attempt > self._attempt:
            self._attempt = piece.attempt
            self._heard.clear()
        known = self._heard.get(piece.choice, "")
        if piece.offset > len(known):
            return None  # something in front of it was lost: the result will tell
        self._heard[piece.choice] = known[: piece.offset] + piece.text
        return piece.choice

    def _new(self, texts: dict[int, str], *, is_all: bool = False) -> list[NewText]:
        new = []
        for choice, text in texts.items():
            sent = self._sent.get(choice, "")
            if not text.startswith(sent):
                if is_all or not sent.startswith(text):
                    raise TextChangedError
            elif len(text) > len(sent):
                self._sent[choice] = text
                new.append(NewText(choice, text[len(sent) :]))
        return new
