"""Which bytes of text each token of a vocabulary stands for. Reads a tokenizer once; pure from then on."""

import codecs
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any  # a tokenizer's own description

from tokenizers import Tokenizer

_PROBES = ("The café, isn't  it?\n\n\t12345 km", "ที่นี่ 日本語 🙂👩‍🚀 e\u0301", "x = [1]; // done")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""The character that stands for a space in vocabularies of the kind of SentencePiece."""


class UnknownSpellingError(ValueError):
    """The bytes of tokens cannot be told; the message, a clause, says why."""


class Spelling:
    """The bytes of each token. Control tokens and rows that only pad a vocabulary spell nothing."""

    def __init__(self, tokens: Mapping[int, bytes], *, drops_first_space: bool = False) -> None:
        self._tokens = tokens
        self._drops_first_space = drops_first_space

    @classmethod
    def of(cls, tokenizer: Tokenizer, silent: Collection[int]) -> "Spelling":
        """As the tokenizer decodes; `silent` are its control tokens. Raises UnknownSpellingError."""
        decoders = [*_decoders(json.loads(tokenizer.decoder.__getstate__()))] if tokenizer.decoder else []
        spell = _speller(decoders)
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        tokens = {token_id: spell(token) for token, token_id in vocabulary.items() if token_id not in silent}
        drops = any(map(_drops_first_space, decoders))
        spelling = cls(tokens, drops_first_space=drops)
        for probe in _PROBES:
            token_ids = tokenizer.encode(probe, add_special_tokens=False).ids
            decoded = tokenizer.decode(token_ids, skip_special_tokens=True)
            if spelling.spelt(token_ids, at_start=True).decode(errors="replace") != decoded:
                raise UnknownSpellingError("its tokenizer rewrites what it decodes")
        return spelling

    @property
    def tokens(self) -> Mapping[int, bytes]:
        """The bytes that a token spells, by its id; tokens that spell nothing are left out."""
        return self._tokens

    def spelt(self, token_ids: Sequence[int], *, at_start: bool) -> bytes:
        """The bytes of some tokens, one behind the other; `at_start` of a text, its first space may be none."""
        spelt = b"".join(self._tokens.get(token_id, b"") for token_id in token_ids)
        return spelt.removeprefix(b" ") if at_start and self._drops_first_space else spelt


def complete(spelt: bytes) -> tuple[str, bytes]:
    """The text that some bytes are, and those at their end that begin a character which is not complete.

    Bytes that no character can hold become replacement characters, as everywhere.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(spelt)
    return text, decoder.getstate()[0]


class _Speller:
    """From a token as the vocabulary writes it to its bytes."""

    def __init__(self, *, by_letters: bool, has_bytes: bool) -> None:
        self._letters = {letter: byte for byte, letter in _letters_of_bytes()} if by_letters else {}
        self._has_bytes = has_bytes

    def __call__(self, token: str) -> bytes:
        if self._letters:
            spelt = [self._letters.get(letter) for letter in token]
            return token.encode() if None in spelt else bytes(byte for byte in spelt if byte is not None)
        if self._has_bytes and len(token) == len("<0x00>") and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace(_SPACE, " ").encode()


def _speller(kinds: Sequence[Mapping[str, Any]]) -> _Speller:
    names = {kind["type"] for kind in kinds}
    if names == {"ByteLevel"}:
        return _Speller(by_letters=True, has_bytes=False)
    replaces = [kind for kind in kinds if kind["type"] == "Replace"]
    known = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}
    if names and names <= known and all(_is_space(kind) for kind in replaces):
        return _Speller(by_letters=False, has_bytes="ByteFallback" in names)
    raise UnknownSpellingError(f"its tokenizer decodes by {', '.join(sorted(names)) or 'spaces between words'}")


def _decoders(described: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The decoders that a tokenizer.json describes, in order, without the sequences that hold them."""
    if described["type"] == "Sequence":
        for inner in described["decoders"]:
            yield from _decoders(inner)
    else:
        yield described


def _drops_first_space(decoder: Mapping[str, Any]) -> bool:
    if decoder["type"] == "Strip":
        return bool(decoder["start"] and decoder["content"] == " ")
    return bool(decoder["type"] == "Metaspace" and decoder.get("prepend_scheme", "always") != "never")


def _is_space(replaces: Mapping[str, Any]) -> bool:
    return bool(replaces["pattern"] == {"String": _SPACE} and replaces["content"] == " ")


def _letters_of_bytes() -> Iterator[tuple[int, str]]:
    """How byte-level vocabularies write bytes: visible Latin characters as they are, the others from U+0100 on."""
    following = 0x100
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:  # noqa: PLR2004 (as byte-level BPE has it)
            yield byte, chr(byte)
        else:
            yield byte, chr(following)
            following += 1
