"""The texts of one item while they grow: what is certain of them already, in pieces that joined are the final text.

Nothing is said that the end may take back: no half character, no tail that may turn out to begin a stop text.
"""

from collections.abc import Callable, Mapping, Sequence

from domain.text_pieces import Piece
from worker.engine import Completion
from worker.texts.stops import CUT_CHARACTER, StopTexts

NUL = "\0"
LONGEST_REWRITTEN = 4
"""Characters that a tokenizer which cleans up spaces may still rewrite, from a space on: " n't" becomes "n't"."""

RequestId = int | str


class GrowingTexts:
    """The texts of one item that somebody listens to: one for each of its answers."""

    def __init__(
        self, listener: str, attempt: int, stops: StopTexts, choices_of: Mapping[RequestId, Sequence[int]]
    ) -> None:
        """`choices_of` says which of the item's answers a request makes."""
        self._listener = listener
        self._attempt = attempt
        self._stops = stops
        self._choices_of = choices_of
        self._growing = {request_id: GrowingText(stops) for request_id in choices_of}

    def grown(self, token_ids_of: Callable[[RequestId], Sequence[int]]) -> list[Piece]:
        """What has become certain since this was last asked, by the tokens there are."""
        return [
            piece
            for request_id, text in self._growing.items()
            for piece in self._pieces(request_id, text.grown(token_ids_of(request_id)))
        ]

    def ended(self, completion: Completion) -> list[Piece]:
        """The rest of an answer that is complete."""
        text = self._growing.pop(completion.request_id)
        rest = self._stops.text(completion.token_ids)[text.num_said :]
        return self._pieces(completion.request_id, (text.num_said, rest))

    def _pieces(self, request_id: RequestId, new: tuple[int, str]) -> list[Piece]:
        offset, text = new
        if not text:
            return []
        shown = text.replace(NUL, CUT_CHARACTER)  # as it is stored
        return [Piece(self._listener, self._attempt, choice, offset, shown) for choice in self._choices_of[request_id]]


class GrowingText:
    """The text of one answer: told all of its tokens again and again, it gives each certain character once."""

    def __init__(self, stops: StopTexts) -> None:
        self.num_said = 0
        self._stops = stops
        self._shown = _Decoded(stops, with_special=False)
        self._kept = _Decoded(stops, with_special=True) if stops.any_special else None

    def grown(self, token_ids: Sequence[int]) -> tuple[int, str]:
        """What is new, behind how many characters that were given before."""
        text = self._shown.extended(token_ids)
        kept = self._kept.extended(token_ids) if self._kept else text
        num_uncertain = max(self._stops.num_begun(text, kept), self._shown.num_uncertain)
        certain = text[: max(0, len(text) - num_uncertain)].rstrip(CUT_CHARACTER)  # so the end of a text is cut, too
        offset = self.num_said
        self.num_said = max(offset, len(certain))
        return offset, certain[offset:]


class _Decoded:
    """The text of tokens of which more and more come, without half a character at its end.

    What a token adds may depend on the one before it: decoded are those that added something last, and the new ones.
    """

    def __init__(self, stops: StopTexts, *, with_special: bool) -> None:
        self._stops = stops
        self._with_special = with_special
        self._text = ""
        self._window = 0
        self._num_read = 0

    @property
    def num_uncertain(self) -> int:
        """Characters at the end that the tokenizer may still rewrite."""
        if not self._stops.rewrites_spaces:
            return 0
        tail = self._text[-LONGEST_REWRITTEN:]
        return len(tail) - tail.find(" ") if " " in tail else 0

    def extended(self, token_ids: Sequence[int]) -> str:
        """The text of these tokens, the same as before and more."""
        if self._stops.rewrites_spaces:
            self._text = self._decode(token_ids).rstrip(CUT_CHARACTER)
            return self._text
        if len(token_ids) <= self._num_read:  # no more, or begun again by an engine that was short of memory
            return self._text
        known = self._decode(token_ids[self._window : self._num_read])
        window = self._decode(token_ids[self._window :])
        if len(window) > len(known) and not window.endswith(CUT_CHARACTER):
            self._text += window[len(known) :]
            self._window, self._num_read = self._num_read, len(token_ids)
        return self._text

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._stops.decoded(token_ids, with_special=self._with_special) if token_ids else ""
