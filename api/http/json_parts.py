"""One large JSON object part by part: its members, and the elements of its one long list, none of the others held.

Finds where parts begin and end; what is in them is `api.http.bodies.parse_json`'s business.
"""

import re
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

from api.http.bodies import BYTE_ORDER_MARK, MAX_KEYS, JsonSyntaxError, parse_json

Text = bytes | mmap
OPENING, CLOSING = b"{[", b"}]"
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}]++")
_BORDER = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)


class Part(NamedTuple):
    """A member of the object; of its long list, one element with its number, from 0."""

    name: str
    number: int | None
    data: bytes | None
    """Its JSON text; None where it is longer than allowed."""


def read_parts(text: Text, long_list: str, max_part_bytes: int) -> Iterator[Part]:
    """The parts of a JSON object, in order. Raises JsonSyntaxError where something is out of place between them.

    The member `long_list` comes element by element where it is a list; where that is empty, it does not come.
    """
    return _Reader(text, max_part_bytes).parts(long_list)


class _Reader:
    def __init__(self, text: Text, max_part_bytes: int) -> None:
        self._text = text
        self._max_part_bytes = max_part_bytes
        self._place = len(BYTE_ORDER_MARK) if text[: len(BYTE_ORDER_MARK)] == BYTE_ORDER_MARK else 0

    def parts(self, long_list: str) -> Iterator[Part]:
        self._expect(b"{")
        names: set[str] = set()
        while self._is_more(b"}", is_first=not names):
            name = self._name()
            if name in names or len(names) >= MAX_KEYS:
                raise JsonSyntaxError(f"an object has the same key twice, or more than {MAX_KEYS} keys")
            names.add(name)
            if name == long_list and self._next() == b"[":
                yield from self._elements(name)
            else:
                yield Part(name, None, self._value())
        self._skip()
        if self._place != len(self._text):
            raise JsonSyntaxError("something follows its end")

    def _elements(self, name: str) -> Iterator[Part]:
        self._place += 1
        number = 0
        while self._is_more(b"]", is_first=number == 0):
            yield Part(name, number, self._value())
            number += 1

    def _is_more(self, end: bytes, *, is_first: bool) -> bool:
        """Whether another part follows; steps over what stands between two, and over the end."""
        if self._next() == end:
            self._place += 1
            return False
        if not is_first:
            self._expect(b",")
        return True

    def _name(self) -> str:
        self._skip()
        found = _STRING.match(self._text, self._place)
        if found is None:
            raise JsonSyntaxError(f"a key is missing at byte {self._place}")
        self._place = found.end()
        self._expect(b":")
        name = parse_json(found[0])
        return name if isinstance(name, str) else ""

    def _value(self) -> bytes | None:
        self._skip()
        start = self._place
        self._place = self._end_of_value(start)
        return None if self._place - start > self._max_part_bytes else self._text[start : self._place]

    def _end_of_value(self, start: int) -> int:
        first = self._text[start : start + 1]
        if first not in {b"{", b"["}:
            found = (_STRING if first == b'"' else _SCALAR).match(self._text, start)
            if found is None:
                raise JsonSyntaxError(f"a value is missing at byte {start}")
            return found.end()
        depth = 0
        for border in _BORDER.finditer(self._text, start):
            at, end = border.span()
            if end - at > 1:  # a whole text
                continue
            mark = self._text[at]
            if mark in OPENING:
                depth += 1
            elif mark in CLOSING:
                depth -= 1
            else:  # a text without an end
                break
            if depth == 0:
                return end
        raise JsonSyntaxError(f"what begins at byte {start} has no end")

    def _expect(self, mark: bytes) -> None:
        if self._next() != mark:
            raise JsonSyntaxError(f"`{mark.decode()}` is missing at byte {self._place}")
        self._place += 1

    def _next(self) -> bytes:
        self._skip()
        return self._text[self._place : self._place + 1]

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._place)
        if found is not None:
            self._place = found.end()
