"""Texts that grow, in the tokens of another tokenizer: always those that it gives for the whole text.

A token of the base may end within one of the guide's, so what is written behind it can change tokens before it. Before
a place where the tokenizer cuts whatever follows (`cuts`), the tokens are settled and not looked at again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from worker.engine.cross_tokenizer.cuts import Cuts
from worker.engine.cross_tokenizer.spelling import Spelling, UnknownSpellingError, complete


class Retokenizer:
    """A tokenizer as it writes answers: by themselves, without the prompt, and without control tokens in them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """The tokenizer is this object's own: it is changed."""
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.cuts = self._cuts()
        """Where the tokens in front do not depend on what comes; elsewhere, whole texts are tokenized."""

    def tokens(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens of each text, without any that a template or a beginning would add."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [tuple(each.ids) for each in encoded]

    def settled(self, text: str) -> tuple[tuple[int, ...], int]:
        """Tokens that the text begins with and that no longer change, whatever follows, and how many characters."""
        end = self.cuts.last(text)
        if not end:
            return (), 0
        whole, before, behind = self.tokens([text, text[:end], text[end:]])
        return (before, end) if whole == before + behind else ((), 0)

    def _cuts(self) -> Cuts:
        added = self._tokenizer.get_added_tokens_decoder().values()
        if any(token.lstrip or token.rstrip or token.single_word for token in added):
            return Cuts.none()
        try:
            spelt = Spelling.of(self._tokenizer, silent=()).tokens.values()
        except UnknownSpellingError:
            return Cuts.none()
        return Cuts.of(spelt, lambda text: self.tokens([text])[0], self._normalized)

    def _normalized(self, text: str) -> str:
        normalizer = self._tokenizer.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))


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
        tokens, end = retokenizer.settled(self._open)
        self._settled += tokens
        self._open = self._open[end:]

    def _added(self, spelling: Spelling, token_id: int) -> tuple[str, bytes]:
        return complete(self._held + spelling.spelt([token_id], at_start=not self._has_begun))
