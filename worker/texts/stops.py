"""From token ids to the text that is shown, and where it ends: stop texts, characters cut in two, special tokens."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from worker.texts.prompts import byte_ids, special_ids, special_tokens

CUT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What half a character is decoded to."""
LONGEST_CHARACTER = 4
"""Bytes of one in UTF-8."""


class Found(NamedTuple):
    """A stop text, and where it begins."""

    start: int
    stop: str


class StopTexts:
    """The engine's stop condition for one request: ends it with the token that completes a stop text.

    Special tokens are no part of the text that is shown, so a stop text is looked for where they are left out; one
    that spells a special token ("<|im_end|>") is looked for where they are kept. What is complete within the first
    `min_tokens` tokens ends nothing, as in vLLM.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], min_tokens: int = 0) -> None:
        self._tokenizer = tokenizer
        self._min_tokens = min_tokens
        tokens = special_tokens(tokenizer)
        special = [stop for stop in stops if any(token in stop for token in tokens)]
        self._special = tuple(special)
        self._plain = tuple(stop for stop in stops if stop not in special)
        self._silent = special_ids(tokenizer)
        self._vocab_size = len(tokenizer)
        self._bytes = byte_ids(tokenizer)
        # A token that is shown is at least one byte and a character at most four: no stop text begins earlier than so
        # many of these ago. Of tokens that are not shown, any number may stand among them.
        self._num_tail_tokens = 4 * max(map(len, stops), default=0) + 4

    def __call__(self, token_ids: Sequence[int]) -> int | None:
        """How many tokens to keep once a stop text is there, and None before."""
        start = self._tail_start(token_ids)
        tail = token_ids[start:]
        num_skipped = max(0, self._min_tokens - start)
        found = self._is_in(tail, self._plain, num_skipped, with_special=False)
        found = found or self._is_in(tail, self._special, num_skipped, with_special=True)
        return len(token_ids) if found else None

    def text(self, token_ids: Sequence[int]) -> str:
        """What is shown of a completion: up to the earliest stop text, and never half a character at its end."""
        skipped = self._skipped(token_ids[: self._min_tokens], with_special=False)
        return text_before(self._before_special(token_ids), self._plain, skipped).rstrip(CUT_CHARACTER)

    @property
    def any_special(self) -> bool:
        """Whether a stop text spells a special token."""
        return bool(self._special)

    @property
    def rewrites_spaces(self) -> bool:
        """Whether the tokenizer may change what it has decoded when more comes: " ." becomes "."."""
        return bool(self._tokenizer.clean_up_tokenization_spaces)

    def num_begun(self, text: str, kept: str) -> int:
        """How many characters at the end may turn out to begin a stop text; `kept` shows special tokens, too."""
        return max(_num_begun(text, self._plain), _num_begun(kept, self._special))

    def decoded(self, token_ids: Sequence[int], *, with_special: bool) -> str:
        """The text of token ids, cut nowhere; special tokens are shown on request."""
        return self._text(token_ids, with_special=with_special)

    def stop_of(self, token_ids: Sequence[int]) -> str | None:
        """The stop text before which the text of a completion ends; None where it ends by itself."""
        skipped = self._skipped(token_ids[: self._min_tokens], with_special=False)
        found = earliest(self._before_special(token_ids), self._plain, skipped)
        if found is None and self._special:
            skipped = self._skipped(token_ids[: self._min_tokens], with_special=True)
            found = earliest(self._text(token_ids, with_special=True), self._special, skipped)
        return None if found is None else found.stop

    def _tail_start(self, token_ids: Sequence[int]) -> int:
        """The place of the token with which the tail begins that any stop text lies in."""
        num_shown = 0
        for place in range(len(token_ids) - 1, -1, -1):
            num_shown += self._is_shown(token_ids[place])
            # Of tokens that spell bytes, all that follow one another are lost where they begin within a character.
            if num_shown >= self._num_tail_tokens and not is_within(self._bytes.get(token_ids[place])):
                return place
        return 0

    def _is_shown(self, token_id: int) -> bool:
        """Whether a token adds to the text: control tokens do not, nor do rows that only pad a vocabulary."""
        return token_id < self._vocab_size and token_id not in self._silent

    def _is_in(self, token_ids: Sequence[int], stops: Sequence[str], num_skipped: int, *, with_special: bool) -> bool:
        if not stops or len(token_ids) <= num_skipped:
            return False
        skipped = self._skipped(token_ids[:num_skipped], with_special=with_special)
        text = self._text(token_ids, with_special=with_special)
        return any(_find(text, stop, skipped) >= 0 for stop in stops)

    def _skipped(self, token_ids: Sequence[int], *, with_special: bool) -> int:
        """Characters that these first tokens complete."""
        return len(self._text(token_ids, with_special=with_special).rstrip(CUT_CHARACTER)) if token_ids else 0

    def _before_special(self, token_ids: Sequence[int]) -> str:
        """The text in front of a stop text that spells a special token; without one, the whole text."""
        kept = self._text(token_ids, with_special=True) if self._special else ""
        skipped = self._skipped(token_ids[: self._min_tokens], with_special=True) if self._special else 0
        end = len(text_before(kept, self._special, skipped))
        if end == len(kept):
            return self._text(token_ids)
        # What a token adds to the text may depend on its neighbours: lengths are of prefixes, never of single tokens.
        num_tokens = len(token_ids)
        while len(before := self._text(token_ids[:num_tokens], with_special=True)) > end:
            num_tokens -= 1
        return self._text(token_ids[:num_tokens]) + kept[len(before) : end]

    def _text(self, token_ids: Sequence[int], *, with_special: bool = False) -> str:
        cut = num_cut([self._bytes.get(token_id) for token_id in token_ids[-LONGEST_CHARACTER:]]) if self._bytes else 0
        whole = list(token_ids[: len(token_ids) - cut])
        text = str(self._tokenizer.decode(whole, skip_special_tokens=not with_special))
        return text + CUT_CHARACTER if cut else text


def is_within(byte: int | None) -> bool:
    """Whether it is a byte of a character in UTF-8, but not its first."""
    return byte is not None and byte & 0xC0 == 0x80  # noqa: PLR2004 - UTF-8


def num_cut(last: Sequence[int | None]) -> int:
    """How many of the last bytes (None: a token that is none) begin a character that is not complete.

    A tokenizer decodes bytes that follow one another all together, or none of them: half a character at the end would
    cost all that stand in front of it.
    """
    for num_bytes, byte in enumerate(reversed(last), start=1):
        if byte is None:
            return 0
        if not is_within(byte):
            length = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)  # noqa: PLR2004 - UTF-8
            return num_bytes if num_bytes < length else 0
    return 0


def text_before(text: str, stops: Sequence[str], num_skipped: int = 0) -> str:
    """The text up to the earliest stop text that does not lie in the first characters, so many; without it."""
    found = earliest(text, stops, num_skipped)
    return text if found is None else text[: found.start]


def earliest(text: str, stops: Sequence[str], num_skipped: int = 0) -> Found | None:
    """The stop text that begins first; of two that begin together, the one that is complete first."""
    found = (Found(start, stop) for stop in stops if (start := _find(text, stop, num_skipped)) >= 0)
    return min(found, key=lambda each: (each.start, len(each.stop)), default=None)


def _num_begun(text: str, stops: Sequence[str]) -> int:
    """The longest end of the text with which one of the stop texts begins."""
    return max(
        (
            length
            for stop in stops
            for length in range(min(len(text), len(stop) - 1), 0, -1)
            if text.endswith(stop[:length])
        ),
        default=0,
    )


def _find(text: str, stop: str, num_skipped: int) -> int:
    """Where the stop text begins that ends behind so many characters; -1 where there is none."""
    return text.find(stop, max(0, num_skipped - len(stop) + 1))
