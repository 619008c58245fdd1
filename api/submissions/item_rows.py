"""Jobs submitted item by item, as a JSON object, NDJSON or CSV: rows are read, checked and given their profiles."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.csv.cells import ITEMS, item_of
from api.csv.tables import refuse_csv, table_rows
from api.http.bodies import JsonSyntaxError, SpooledBody, parse_json
from api.http.errors import LineError, line_errors
from api.jobs.schemas import ItemIn, Options, Overrides
from api.profiles.schemas import check_user_id
from api.submissions.inspection import Inspection
from api.submissions.item_source import Candidate, Place, ReadOptions
from api.submissions.plain_lines import line_batches, plain_lines
from db.batches import batches
from db.queries.profiles import PinnedProfile, resolve_profiles
from domain.json_values import JsonObject

ROWS_PER_BATCH = 500
PROFILES_REMEMBERED = 5000
SAYS_NOTHING = Overrides()
TEXT = "/prompt"
"""Where a single turn is written."""
OPTION_NAMES = frozenset(Options.model_fields)


class Row(NamedTuple):
    """One row as it was sent; `fault` says why it has no value, if it has none. A tuple: there are many."""

    place: Place
    value: object
    fault: LineError | None = None


class CheckedRow(NamedTuple):
    """One row after its schema. A wrong row still names its item and its user, if it names them properly."""

    place: Place
    custom_id: str | None
    user_id: str | None
    errors: Sequence[LineError] = ()
    messages: list[JsonObject] | None = None
    """What is to be written; None where anything is wrong."""
    text_pointer: str = ""
    own: Overrides = SAYS_NOTHING


@dataclass(frozen=True, slots=True)
class ItemRows:
    """A job item by item."""

    head: ReadOptions
    checked: Iterable[Sequence[CheckedRow]]
    """Its rows, a batch at a time."""

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items, in order; users are looked up a batch at a time."""
        first_places: dict[str, Place] = {}
        profiles: dict[str, PinnedProfile] = {}
        for batch in self.checked:
            if len(profiles) > PROFILES_REMEMBERED:
                profiles.clear()
            new = {row.user_id for row in batch if row.user_id is not None and row.user_id not in profiles}
            profiles.update(resolve_profiles(session, tenant_id, list(new)))
            for row in batch:
                inspection.count_row()
                place, custom_id, user_id, errors, messages, text_pointer, own = row
                profile = None if user_id is None else profiles.get(user_id)
                is_first = custom_id is None or first_places.setdefault(custom_id, place) is place
                if errors or not is_first or profile is None:
                    inspection.add(*errors, *_identity_errors(row, first_places, profiles))
                elif custom_id is not None and messages is not None:
                    yield Candidate(custom_id, profile, messages, place, text_pointer, own)


def json_rows(body: Mapping[str, object]) -> ItemRows:
    """A job as one JSON object."""
    values = body.get("items", [])
    head = read_options({name: value for name, value in body.items() if name != "items"}, Place())
    if not isinstance(values, list):
        wrong = LineError("list_type", "Must be a list.", "/items")
        return ItemRows(ReadOptions(head.options, errors=[*head.errors, wrong]), ())
    rows = (Row(Place(prefix=f"/items/{index}"), value) for index, value in enumerate(values))
    return ItemRows(head, _checked(rows))


def ndjson_rows(body: SpooledBody) -> ItemRows:
    """A job as NDJSON: an item per line, after an optional first line that holds options only."""
    refuse_csv(body)
    lines = line_batches(body)
    batch = next(lines, None)
    if batch is None:
        return ItemRows(ReadOptions(), ())
    first = _parsed_line(*batch[0])
    if _is_options(first.value):
        return ItemRows(read_options(first.value, first.place), map(_checked_lines, chain([batch[1:]], lines)))
    return ItemRows(ReadOptions(), map(_checked_lines, chain([batch], lines)))


def csv_rows(body: SpooledBody, columns: Mapping[str, str], options: object) -> ItemRows:
    """A job as CSV: an item per row; what it says once for all of them comes beside it."""
    head = ReadOptions() if options is None else read_options(options, Place(prefix="options"))
    return ItemRows(head, _checked(_table(body, columns)))


def _checked(rows: Iterable[Row]) -> Iterator[list[CheckedRow]]:
    for batch in batches(rows, ROWS_PER_BATCH):
        yield [check_row(row) for row in batch]


def _checked_lines(lines: Sequence[tuple[int, bytes]]) -> list[CheckedRow]:
    plain = plain_lines([line for _, line in lines])
    if plain is None:
        return [check_row(_parsed_line(number, line)) for number, line in lines]
    user_ids = plain.user_ids
    return [
        CheckedRow(
            Place(number), item["custom_id"], user_ids[item["user_id"]], (), [as_user_turn(item["prompt"])], TEXT
        )
        for (number, _), item in zip(lines, plain.items, strict=True)
    ]


def _table(body: SpooledBody, columns: Mapping[str, str]) -> Iterator[Row]:
    for number, row in enumerate(table_rows(body, columns, ITEMS), start=1):
        yield Row(Place(line=row.line), item_of(row, number), row.error)


def read_options(value: object, place: Place) -> ReadOptions:
    """The options in `value`, or what is wrong with them."""
    try:
        return ReadOptions(Options.model_validate(value), place)
    except ValidationError as error:
        return ReadOptions(Options(), place, line_errors(error, line=place.line, prefix=place.prefix))


def check_row(row: Row) -> CheckedRow:
    """One row against its schema, with all that is wrong with it."""
    if row.fault is not None:
        return CheckedRow(row.place, None, None, [row.fault])
    value = row.value
    if not isinstance(value, dict):
        error = row.place.error("not_an_object", "An item is a JSON object.")
        return CheckedRow(row.place, None, None, [error])
    errors = _content_errors(value, row.place)
    try:
        item = ItemIn.model_validate(value)
    except ValidationError as error:
        found = line_errors(error, line=row.place.line, prefix=row.place.prefix)
        errors = [*found, *errors]
        if len(found) < error.error_count():  # then nobody knows what of it is right
            return CheckedRow(row.place, None, None, errors)
        wrong = {each.pointer.removeprefix(row.place.prefix) for each in errors}
        custom_id = None if "/custom_id" in wrong else value["custom_id"]
        user_id = None if "/user_id" in wrong else check_user_id(value["user_id"])
        return CheckedRow(row.place, custom_id, user_id, errors)
    return CheckedRow(row.place, item.custom_id, item.user_id, errors, *_asked(item), item)


def _content_errors(value: JsonObject, place: Place) -> list[LineError]:
    """Beside the schema, so that it is found together with what else is wrong."""
    if (value.get("prompt") is None) != (value.get("messages") is None):
        return []
    return [place.error("prompt_or_messages", "Give either `prompt` or `messages`.")]


def _identity_errors(
    row: CheckedRow, first_places: Mapping[str, Place], profiles: Mapping[str, object]
) -> Iterator[LineError]:
    if row.custom_id is not None and (first := first_places[row.custom_id]) is not row.place:
        yield row.place.error("duplicate_custom_id", f"{first.label} has the same custom_id.", "/custom_id")
    if row.user_id is not None and row.user_id not in profiles:
        yield row.place.error("unknown_user", "There is no profile for this user: store one first.", "/user_id")


def _asked(item: ItemIn) -> tuple[list[JsonObject], str]:
    """What is to be written, and where it was said."""
    if item.prompt is not None:
        return [as_user_turn(item.prompt)], TEXT
    return [{"role": turn.role, "content": turn.content} for turn in item.messages or ()], "/messages"


def as_user_turn(prompt: str) -> JsonObject:
    """A prompt as the one message it stands for."""
    return {"role": "user", "content": prompt}


def _is_options(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and OPTION_NAMES.issuperset(value)


def _parsed_line(number: int, line: bytes) -> Row:
    place = Place(line=number)
    try:
        return Row(place, parse_json(line))
    except JsonSyntaxError as error:
        reason = str(error).replace("line 1 column", "column")
        return Row(place, None, place.error("invalid_json", f"This line is not valid JSON: {reason}."))
