"""Stop texts: where a completion ends because the client's words appeared. The engine asks with token ids."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


class StopTexts:
    """The engine's stop condition for one request: ends it with the token that completes a stop text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        # A token is at least one byte and a character at most four: no stop text can begin earlier than this.
        self._num_tail_tokens = 4 * max(map(len, self._stops)) + 4

    def __call__(self, token_ids: Sequence[int]) -> int | None:
        """How many tokens to keep once a stop text is there, and None before."""
        tail = self._tokenizer.decode(list(token_ids[-self._num_tail_tokens :]), skip_special_tokens=True)
        return len(token_ids) if any(stop in tail for stop in self._stops) else None


def text_before(text: str, stops: Sequence[str]) -> str:
    """The text up to the earliest stop text, which is not part of the answer."""
    ends = [end for stop in stops if (end := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
