"""Texts that grow, in the tokens of another tokenizer: always those that it gives for the whole text.

A token of the base may end within one of the guide's, so what is written behind it can change tokens before it. Where a
word ends for good ("... a b ...": a space between letters), the tokens before are settled and not looked at again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from worker.engine.cross_tokenizer.spelling import Spelling, UnknownSpellingError, complete

_WORDS_APART = re.compile(r"(?<=[^\W\d_])(?= [^\W\d_])")
"""Between a letter and a space that a letter follows."""
_OVER_WORDS = re.compile(r"([^\W\d_]|\ufffd) ")
"""A token that has this, or what may be a part of it, reaches over such a place."""
_PROBES = (
    "It's a small-world, isn't it? Yes I'd say so",
    "one  two\n three 12345 a b\n\nc d. E f",
    "straße über 日本 x ภาษา y é z",
    "CamelCase ALLCAPS isn t ll re",
)


class Retokenizer:
    """A tokenizer as it writes answers: by themselves, without the prompt, and without control tokens in them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """The tokenizer is this object's own: it is changed."""
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.settles = self._words_stand_alone()
        """Whether the tokens in front of a word do not depend on what comes; if not, whole texts are tokenized."""

    def tokens(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of each text, without any that a template or a beginning would add."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [tuple(each.ids) for each in encoded]

    def num_settled(self, text: str) -> int:
        """Characters at the beginning whose tokens no longer change, whatever follows the text."""
        if not self.settles:
            return 0
        return max((found.start() for found in _WORDS_APART.finditer(text)), default=0)

    def _words_stand_alone(self) -> bool:
        """Whether no token reaches over a place where words part, and texts in two parts have the same tokens."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        if any(token.lstrip or token.rstrip or token.single_word for token in added):
            return False
        try:
            spelt = Spelling.of(self._tokenizer, silent=()).tokens.values()
        except UnknownSpellingError:
            return False
        if any(_OVER_WORDS.search(token.decode(errors="replace")) for token in spelt if b" " in token[1:]):
            return False
        return all(
            self.tokens([probe]) == [sum(self.tokens([probe[: found.start()], probe[found.start() :]]), ())]
            for probe in _PROBES
            for found in _WORDS_APART.finditer(probe)
        )


@dataclass(frozen=True, slots=True)
class Continued:
    """The tokens of a text with each of several endings."""

    settled: tuple[int, ...]
    """Tokens with which all endings begin."""
    endings: tuple[tuple[int, ...], ...]
    """For each candidate, the tokens that follow."""


@dataclass(slots=True)
class GrowingText:
    """The text that tokens of the base have written so far, in the guide's tokens as far as they are settled."""

    _settled: list[int] = field(default_factory=list)
    """The guide's tokens of the characters before `_open`."""
    _open: str = ""
    """Complete characters whose tokens may change."""
    _held: bytes = b""
    """Bytes that begin a character which is not complete."""
    _has_begun: bool = False

    @property
    def open(self) -> str:
        """Complete characters whose tokens may change; `continued` puts the settled ones before them."""
        return self._open

    def candidates(self, spelling: Spelling, token_ids: Sequence[int]) -> list[str]:
        """The open text with each of these tokens behind it, up to its last complete character."""
        return [self._open + self._added(spelling, token_id)[0] for token_id in token_ids]

    def continued(self, endings: Sequence[tuple[int, ...]]) -> Continued:
        """With the tokens of each candidate's open text."""
        return Continued(tuple(self._settled), tuple(endings))

    def append(self, spelling: Spelling, token_id: int, retokenizer: Retokenizer) -> None:
        """Add the token that the base has chosen, and settle what can no longer change."""
        text, held = self._added(spelling, token_id)
        self._has_begun = self._has_begun or bool(spelling.spelt([token_id], at_start=False))
        self._open, self._held = self._open + text, held
        end = retokenizer.num_settled(self._open)
        if end:
            self._settled += retokenizer.tokens([self._open[:end]])[0]
            self._open = self._open[end:]

    def _added(self, spelling: Spelling, token_id: int) -> tuple[str, bytes]:
        return complete(self._held + spelling.spelt([token_id], at_start=not self._has_begun))
