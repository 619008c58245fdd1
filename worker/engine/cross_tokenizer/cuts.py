"""Places in a text where a tokenizer cuts whatever follows: the tokens before them are settled.

Two kinds of place. Where words stand apart ("... a b ...": a letter, a space, a letter), if no token of the vocabulary
reaches over such a place. And between two letters of a script without capitals, as Chinese, Japanese or Thai, where no
token has the one's last byte and the other's first: then both sides are tokenized as if the other were not there.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

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
_UNSPACED_PROBES = (
    "今天天气很好我们去公园散步吧他说学习中文并不难但是需要时间和耐心",
    "今日は天気がいいので散歩に行きましょうカタカナとひらがなと漢字が混ざる文章",
    "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนกันเถอะภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "ວັນນີ້ອາກາດດີ ថ្ងៃនេះអាកាសធាតុល្អ မြန်မာဘာသာစကား 한국어텍스트입니다",
)

Tokenize = Callable[[str], tuple[int, ...]]
Normalize = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where a tokenizer's texts may be cut, as far as its vocabulary says and probes bear out."""

    between_words: bool
    between_letters: bool
    _joined: frozenset[bytes]
    """What meets within any token where two characters do, as `_meeting` writes it."""
    _normalize: Normalize

    @classmethod
    def of(cls, spelt: Collection[bytes], tokenize: Tokenize, normalize: Normalize) -> "Cuts":
        """Of a tokenizer whose tokens spell these bytes."""
        over_words = any(_OVER_WORDS.search(token.decode(errors="replace")) for token in spelt if b" " in token[1:])
        joined = frozenset(met for token in spelt if not token.isascii() for met in _meetings(token))
        claimed = cls(not over_words, between_letters=True, _joined=joined, _normalize=normalize)
        words = [(probe, found.start()) for probe in _PROBES for found in _WORDS_APART.finditer(probe)]
        letters = [(probe, place) for probe in _UNSPACED_PROBES for place in claimed.letter_cuts(probe)]

        def bear_out(places: Sequence[tuple[str, int]]) -> bool:
            return all(tokenize(probe) == tokenize(probe[:place]) + tokenize(probe[place:]) for probe, place in places)

        return cls(not over_words and bear_out(words), bear_out(letters), joined, normalize)

    @classmethod
    def none(cls) -> "Cuts":
        """Nowhere: whole texts are tokenized."""
        return cls(between_words=False, between_letters=False, _joined=frozenset(), _normalize=str)

    def last(self, text: str) -> int:
        """The last place where this text may be cut, whatever follows it; 0 where there is none."""
        words = max((found.start() for found in _WORDS_APART.finditer(text)), default=0) if self.between_words else 0
        return max(words, next(self.letter_cuts(text), 0)) if self.between_letters else words

    def letter_cuts(self, text: str) -> Iterator[int]:
        """Places between letters without capitals, the last first.

        The letter behind and the next one are there: nothing that follows changes them, nor where words are found.
        """
        for place in range(len(text) - 2, 0, -1):
            before, here, behind = text[place - 1], text[place], text[place + 1]
            if not (_is_unspaced(here) and _is_unspaced(behind) and (_is_unspaced(before) or _is_mark(before))):
                continue
            around = text[max(0, place - 2) : place + 2]  # a Hangul syllable may be put together of three
            if self._normalize(around) == around and not self._may_be_joined(before.encode(), here.encode()):
                yield place

    def _may_be_joined(self, before: bytes, here: bytes) -> bool:
        """Whether any token holds the end of one character and the beginning of the other."""
        return any(
            _meeting(before[-last:], here[:first]) in self._joined
            for last in range(1, len(before) + 1)
            for first in range(1, len(here) + 1)
        )


def _is_unspaced(character: str) -> bool:
    """A letter of a script that knows no capitals."""
    return not character.isascii() and unicodedata.category(character) == "Lo"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc")


def _meetings(token: bytes) -> Iterator[bytes]:
    """What meets where two characters, or what the token has of them, stand beside each other; ASCII is left out."""
    starts = [place for place, byte in enumerate(token) if byte & 0xC0 != 0x80]  # noqa: PLR2004 (as UTF-8 has it)
    edges = [0, *(start for start in starts if start), len(token)]
    for first, middle, last in zip(edges, edges[1:], edges[2:], strict=False):
        if token[middle] & 0x80 and token[middle - 1] & 0x80:
            yield _meeting(token[first:middle], token[middle:last])


def _meeting(before: bytes, here: bytes) -> bytes:
    """Both, and no byte that text has between them."""
    return before + b"\xff" + here
