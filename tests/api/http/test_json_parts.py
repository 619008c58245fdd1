"""A large JSON object is taken apart where json would, whatever is in it, and only as much is held as is looked at."""

import json
import mmap
import tempfile
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.bodies import JsonSyntaxError, parse_json
from api.http.json_parts import Part, read_parts

TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def put_together(text: bytes) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for part in read_parts(text, "rows", 10**6):
        assert part.data is not None
        parsed = parse_json(part.data)
        if part.number is None:
            value[part.name] = parsed
        else:
            value.setdefault(part.name, []).append(parsed)
            assert len(value[part.name]) == part.number + 1
    return value


@given(
    st.dictionaries(TEXTS, VALUES, max_size=3),
    st.lists(VALUES, min_size=1, max_size=4),
    st.sampled_from([{"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}]),
)
def test_the_parts_are_the_whole(members: dict[str, Any], rows: list[Any], layout: dict[str, Any]) -> None:
    whole = {**members, "rows": rows}

    assert put_together(json.dumps(whole, **layout).encode()) == whole


@given(st.binary(max_size=40))
def test_what_is_taken_apart_without_complaint_and_parses_is_json(text: bytes) -> None:
    whole = b'{"rows": [1, ' + text
    try:
        taken_apart = put_together(whole)
    except JsonSyntaxError:
        return

    assert taken_apart == parse_json(whole)


OUT_OF_PLACE = [
    *(b"", b"{", b"[]", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1 "b":2}', b'{"a":1}x', b'{"a":1,"a":2}', b"{a:1}"),
    *(b'{"rows":[1 2]}', b'{"rows":[,]}', b'{"rows":[1'),
]


@pytest.mark.parametrize("text", OUT_OF_PLACE)
def test_what_is_out_of_place_is_a_syntax_error(text: bytes) -> None:
    with pytest.raises(JsonSyntaxError):
        list(read_parts(text, "rows", 10))


def test_what_is_too_long_is_named_without_its_text() -> None:
    parts = list(read_parts(b'{"rows": ["12345678", "1", {"a": "123456"}], "b": "123456789"}', "rows", 10))

    assert parts == [
        Part("rows", 0, b'"12345678"'),
        Part("rows", 1, b'"1"'),
        Part("rows", 2, None),
        Part("b", None, None),
    ]


def test_no_more_is_held_than_the_part_that_is_looked_at() -> None:
    row = b'{"text": "%s", "deep": [[1, {"a": "]}"}]]},' % (b"x" * 10_000)
    with tempfile.TemporaryFile() as file:
        file.write(b'{"rows": [' + row * 2000 + b'"last"]}')
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            peaks = [_peak_of_parts(text) for _ in range(3)]

    assert min(peaks) < 10 * len(row)  # threads of other tests may take some memory meanwhile


def _peak_of_parts(text: mmap.mmap) -> int:
    """Bytes that were held at most while all parts were read."""
    tracemalloc.start()
    num_parts = sum(1 for _ in read_parts(text, "rows", 10**5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_parts == 2001
    return peak


def test_a_text_without_an_end_is_found_out_in_one_pass() -> None:
    with pytest.raises(JsonSyntaxError, match="has no end"):
        list(read_parts(b'{"rows": [{"a": "' + b'\\"' * 2_000_000, "rows", 10))
