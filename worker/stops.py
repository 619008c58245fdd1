"""From token ids to the text that is shown, and where it ends: stop texts, characters cut in two, special tokens."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from worker.prompts import special_tokens

_CUT_CHARACTER = "\N{REPLACEMENT CHARACTER}"


class StopTexts:
    """The engine's stop condition for one request: ends it with the token that completes a stop text.

    Special tokens are no part of the text that is shown, so a stop text is looked for where they are left out; one
    that spells a special token ("<|im_end|>") is looked for where they are kept.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        tokens = special_tokens(tokenizer)
        special = [stop for stop in stops if any(token in stop for token in tokens)]
        self._special = tuple(special)
        self._plain = tuple(stop for stop in stops if stop not in special)
        # A token is at least one byte and a character at most four: no stop text can begin earlier than this.
        self._num_tail_tokens = 4 * max(map(len, stops), default=0) + 4

    def __call__(self, token_ids: Sequence[int]) -> int | None:
        """How many tokens to keep once a stop text is there, and None before."""
        tail = token_ids[-self._num_tail_tokens :]
        found = any(stop in self._text(tail) for stop in self._plain) if self._plain else False
        if not found and self._special:
            kept = self._text(tail, with_special=True)
            found = any(stop in kept for stop in self._special)
        return len(token_ids) if found else None

    def text(self, token_ids: Sequence[int]) -> str:
        """What is shown of a completion: up to the earliest stop text, and never half a character at its end."""
        return text_before(self._before_special(token_ids), self._plain).rstrip(_CUT_CHARACTER)

    def _before_special(self, token_ids: Sequence[int]) -> str:
        """The text in front of a stop text that spells a special token; without one, the whole text."""
        kept = self._text(token_ids, with_special=True) if self._special else ""
        end = len(text_before(kept, self._special))
        if end == len(kept):
            return self._text(token_ids)
        # What a token adds to the text may depend on its neighbours: lengths are of prefixes, never of single tokens.
        num_tokens = len(token_ids)
        while len(before := self._text(token_ids[:num_tokens], with_special=True)) > end:
            num_tokens -= 1
        return self._text(token_ids[:num_tokens]) + kept[len(before) : end]

    def _text(self, token_ids: Sequence[int], *, with_special: bool = False) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=not with_special))


def text_before(text: str, stops: Sequence[str]) -> str:
    """The text up to the earliest stop text, which is not part of the answer."""
    ends = [end for stop in stops if (end := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
