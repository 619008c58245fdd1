"""Lines that are read many at a time are found to say what each of them says alone."""

import datetime as dt
import io
import json
from itertools import product

import pytest

from api.http.bodies import NDJSON, SpooledBody
from api.submissions.item_checks import ItemChecks, ResolvedItem
from api.submissions.item_rows import CheckedRow, ndjson_rows
from api.submissions.item_source import Place
from api.submissions.plain_lines import BYTES_PER_BATCH, LINES_PER_BATCH, line_batches, plain_lines
from db.queries.models import RegisteredModel
from domain.json_values import JsonObject
from domain.model_descriptions import ModelDescription
from domain.preferences import EffectivePreference, Method, Principle
from domain.sampling import Sampling
from domain.states import ModelState
from tests.builders import a_description

PLAIN = b'{"custom_id": "a", "user_id": "ada", "prompt": "Write {of} tea, twice."}'
LINES = (
    PLAIN,
    b'{"prompt":"x","user_id":" A\xcc\x8ada ","custom_id":"\xc3\xa9"}',
    b'{"custom_id":"a","user_id":"ada","prompt":"b"},{"custom_id":"c","user_id":"ada","prompt":"d"}',
    b'{"custom_id":"a","user_id":"ada"',
    b'"prompt":"x"}',
    b'{"custom_id":"a","user_id":"ada","prompt":"x","messages":[{}',
    b"{}]}",
    b'{"custom_id":"a","user_id":"ada","user_id":"bob","prompt":"x"}',
    b'{"custom_id":"a","user_id":"ada","prompt":"x","seed":1}',
    b'{"custom_id":"a","user_id":"ada","prompt":null}',
    b'{"custom_id":"a","user_id":"ada","prompt":"  "}',
    b'{"custom_id":"","user_id":"ada","prompt":"x"}',
    b'{"custom_id":"a","user_id":"..","prompt":"x"}',
    b'{"custom_id":"a","user_id":"ada","prompt":"\\u0041\\n"}',
    b'{"custom_id":"a","user_id":"ada","prompt":"a\x01b"}',
    b'{"custom_id":"a","user_id":"ada","prompt":"\xff"}',
    b'[{"custom_id":"a","user_id":"ada","prompt":"x"}]',
    b'{"a":"b"}{"c":"d"}',
)


def a_body(*lines: bytes) -> SpooledBody:
    text = b"\n".join(lines)
    return SpooledBody(io.BytesIO(text), len(text), "", NDJSON)


def read(*lines: bytes) -> list[CheckedRow]:
    rows = ndjson_rows(a_body(*lines))
    return [row for batch in rows.checked for row in batch]


def told(row: CheckedRow) -> tuple[object, ...]:
    """All but its place, and settings as values."""
    errors = [(error.code, error.message, error.pointer) for error in row.errors]
    return row.custom_id, row.user_id, errors, row.messages, row.text_pointer, row.own.model_fields_set & {"seed"}


def test_lines_say_together_what_they_say_alone() -> None:
    alone = {line: told(read(b"x", line)[1]) for line in LINES}  # beside a broken line each is read by itself

    for lines in product(LINES, repeat=3):
        assert [told(row) for row in read(*lines)] == [alone[line] for line in lines], lines


def test_a_row_names_its_own_line_wherever_blank_ones_stand() -> None:
    assert [row.place for row in read(PLAIN, b"", b" ", PLAIN)] == [Place(1), Place(4)]


def test_plain_lines_are_read_together() -> None:
    assert plain_lines([PLAIN] * LINES_PER_BATCH) is not None
    assert plain_lines([PLAIN, LINES[1]]) is not None


def test_as_much_is_read_together_as_memory_should_hold() -> None:
    line = json.dumps({"custom_id": "a", "user_id": "ada", "prompt": "x" * (BYTES_PER_BATCH // 4)}).encode()

    sizes = [len(batch) for batch in line_batches(a_body(*[line] * 10))]

    assert sizes == [4, 4, 2]


def a_registered_model(description: ModelDescription) -> RegisteredModel:
    now = dt.datetime.now(dt.UTC)
    return RegisteredModel("tiny", (), description, ModelState.READY, registered_at=now, seen_at=now)


@pytest.mark.parametrize("longest", [0, 1, 7])
@pytest.mark.parametrize("letter", ["x", "é", "\N{MUSICAL SYMBOL SIXTEENTH NOTE}"])
def test_what_is_found_right_at_a_glance_is_right_at_a_closer_look(longest: int, letter: str) -> None:
    checks = ItemChecks(a_registered_model(a_description(longest_token_bytes=longest)), max_characters=1000)
    preference = EffectivePreference(Method.PAD, 1.0, (Principle("humor", 1.0),))
    sampling = Sampling()
    glances = []

    for num_letters in [1, *range(1, 1100)]:
        messages: list[JsonObject] = [{"role": "user", "content": letter * num_letters}]
        glances.append(checks.is_surely_right(messages, "hash", preference, sampling))
        errors = checks.errors(ResolvedItem(messages, preference, sampling, Place(1), "/prompt"))
        assert not (glances[-1] and errors), num_letters

    assert glances[:3] == [False, True, True], "the first is looked at closely, and then its like is known"
    assert not glances[-1]
