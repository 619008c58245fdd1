"""Jobs submitted item by item, as a JSON object, NDJSON or CSV: rows are read, checked and given their profiles."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.csv.cells import ITEMS, item_of
from api.csv.tables import refuse_csv, table_rows
from api.http.bodies import JsonSyntaxError, SpooledBody, parse_json
from api.http.errors import LineError, line_errors
from api.jobs.schemas import ItemIn, Options
from api.profiles.schemas import check_user_id
from api.submissions.inspection import Inspection
from api.submissions.item_source import Candidate, Place, ReadOptions
from db.batches import batches
from db.queries.profiles import PinnedProfile, resolve_profiles
from domain.json_values import JsonObject

ROWS_PER_BATCH = 500
PROFILES_REMEMBERED = 5000
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
    item: ItemIn | None
    errors: list[LineError]


@dataclass(frozen=True, slots=True)
class ItemRows:
    """A job item by item."""

    head: ReadOptions
    rows: Iterable[Row]

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items, in order; rows are checked and users looked up a batch at a time."""
        first_places: dict[str, str] = {}
        profiles: dict[str, PinnedProfile] = {}
        for batch in batches(self.rows, ROWS_PER_BATCH):
            checked = [check_row(row) for row in batch]
            if len(profiles) > PROFILES_REMEMBERED:
                profiles.clear()
            new = [row.user_id for row in checked if row.user_id is not None and row.user_id not in profiles]
            profiles.update(resolve_profiles(session, tenant_id, new))
            for row in checked:
                inspection.count_row()
                errors = [*row.errors, *_identity_errors(row, first_places, profiles)]
                if errors:
                    inspection.add(*errors)
                elif row.item is not None:
                    yield _candidate(row.place, row.item, profiles[row.item.user_id])


def json_rows(body: Mapping[str, object]) -> ItemRows:
    """A job as one JSON object."""
    values = body.get("items", [])
    head = read_options({name: value for name, value in body.items() if name != "items"}, Place())
    if not isinstance(values, list):
        wrong = LineError("list_type", "Must be a list.", "/items")
        return ItemRows(ReadOptions(head.options, errors=[*head.errors, wrong]), ())
    return ItemRows(head, (Row(Place(prefix=f"/items/{index}"), value) for index, value in enumerate(values)))


def ndjson_rows(body: SpooledBody) -> ItemRows:
    """A job as NDJSON: an item per line, after an optional first line that holds options only."""
    refuse_csv(body)
    rows = _parsed_lines(body)
    first = next(rows, None)
    if first is None:
        return ItemRows(ReadOptions(), ())
    if _is_options(first.value):
        return ItemRows(read_options(first.value, first.place), rows)
    return ItemRows(ReadOptions(), chain([first], rows))


def csv_rows(body: SpooledBody, columns: Mapping[str, str], options: object) -> ItemRows:
    """A job as CSV: an item per row; what it says once for all of them comes beside it."""
    head = ReadOptions() if options is None else read_options(options, Place(prefix="options"))
    return ItemRows(head, _table(body, columns))


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
        return CheckedRow(row.place, None, None, None, [row.fault])
    value = row.value
    if not isinstance(value, dict):
        error = row.place.error("not_an_object", "An item is a JSON object.")
        return CheckedRow(row.place, None, None, None, [error])
    errors = _content_errors(value, row.place)
    try:
        item = ItemIn.model_validate(value)
    except ValidationError as error:
        found = line_errors(error, line=row.place.line, prefix=row.place.prefix)
        errors = [*found, *errors]
        if len(found) < error.error_count():  # then nobody knows what of it is right
            return CheckedRow(row.place, None, None, None, errors)
        wrong = {each.pointer.removeprefix(row.place.prefix) for each in errors}
        custom_id = None if "/custom_id" in wrong else value["custom_id"]
        user_id = None if "/user_id" in wrong else check_user_id(value["user_id"])
        return CheckedRow(row.place, custom_id, user_id, None, errors)
    return CheckedRow(row.place, item.custom_id, item.user_id, item, errors)


def _content_errors(value: JsonObject, place: Place) -> list[LineError]:
    """Beside the schema, so that it is found together with what else is wrong."""
    if (value.get("prompt") is None) != (value.get("messages") is None):
        return []
    return [place.error("prompt_or_messages", "Give either `prompt` or `messages`.")]


def _identity_errors(
    row: CheckedRow, first_places: dict[str, str], profiles: Mapping[str, object]
) -> Iterator[LineError]:
    if row.custom_id is not None:
        first = first_places.setdefault(row.custom_id, row.place.label)
        if first != row.place.label:
            yield row.place.error("duplicate_custom_id", f"{first} has the same custom_id.", "/custom_id")
    if row.user_id is not None and row.user_id not in profiles:
        yield row.place.error("unknown_user", "There is no profile for this user: store one first.", "/user_id")


def _candidate(place: Place, item: ItemIn, profile: PinnedProfile) -> Candidate:
    if item.prompt is not None:
        return Candidate(item.custom_id, profile, [as_user_turn(item.prompt)], place, "/prompt", item)
    turns: list[JsonObject] = [{"role": turn.role, "content": turn.content} for turn in item.messages or ()]
    return Candidate(item.custom_id, profile, turns, place, "/messages", item)


def as_user_turn(prompt: str) -> JsonObject:
    """A prompt as the one message it stands for."""
    return {"role": "user", "content": prompt}


def _is_options(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and OPTION_NAMES.issuperset(value)


def _parsed_lines(body: SpooledBody) -> Iterator[Row]:
    for number, line in body.lines():
        place = Place(line=number)
        try:
            yield Row(place, parse_json(line))
        except JsonSyntaxError as error:
            reason = str(error).replace("line 1 column", "column")
            yield Row(place, None, place.error("invalid_json", f"This line is not valid JSON: {reason}."))
