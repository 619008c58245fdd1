"""What the cells of a table say of items and of profiles, by field: texts, numbers, lists, JSON. Pure.

A cell that is not what its field has is handed on as text, so that the schema refuses it in its place.
"""

import re
from collections.abc import Mapping

from api.csv.tables import Kind, TableRow
from api.http.bodies import JsonSyntaxError, parse_json
from api.jobs.schemas import ItemIn
from api.profiles.schemas import ProfileBody
from domain.json_values import JsonObject

TEXTS = frozenset({"custom_id", "user_id", "prompt", "method"})
LISTS = frozenset({"tags", "principles"})
BOOLEANS = frozenset({"learn", "rewards"})
JSON_VALUES = frozenset({"messages", "examples", "stop", "logit_bias", "chat_template_kwargs"})
ALIASES = frozenset({"top_k"})
PARTS = ("attributes", "metadata")
_YES_AND_NO = {
    **dict.fromkeys(("true", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "no", "n", "0"), False),
}
_WEIGHT = re.compile(r"(.*\S)\s*=\s*([0-9]+(?:[.,][0-9]+)?)")
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")
_PART = re.compile(rf"({'|'.join(PARTS)})\.(.+)")


def _item_field(name: str) -> str | None:
    return name if name in ItemIn.model_fields or name in ALIASES else None


def _profile_field(name: str) -> str | None:
    is_part = _PART.fullmatch(name) is not None
    return name if is_part or name == "user_id" or name in _PROFILE_FIELDS else None


def attribute_name(column: str) -> str | None:
    """The attribute that a column of any name may be: "First name" is `first_name`."""
    name = _NO_NAME.sub("_", column.strip()).strip("_").lower()[:64]
    return f"attributes.{name}" if name and not name[0].isdigit() else None


_PROFILE_FIELDS = frozenset(ProfileBody.model_fields) - frozenset(PARTS)
ITEMS = Kind(_item_field, tuple(ItemIn.model_fields), required="user_id")
PROFILES = Kind(
    _profile_field,
    (
        "user_id",
        *(name for name in ProfileBody.model_fields if name in _PROFILE_FIELDS),
        *(f"{part}.NAME" for part in PARTS),
    ),
    required="user_id",
    others=attribute_name,
    others_name="attributes",
)


def item_of(row: TableRow, number: int) -> JsonObject:
    """The item in a row, which is the job's `number`th, from 1: that is its name, if it has none."""
    return {"custom_id": str(number), **{field: value_of(field, cell) for field, cell in row.cells.items()}}


def profile_of(row: TableRow) -> JsonObject:
    """What a row says of a profile."""
    said: JsonObject = {}
    parts: dict[str, dict[str, object]] = {}
    for field, cell in row.cells.items():
        part = _PART.fullmatch(field)
        if part is None:
            said[field] = value_of(field, cell)
        else:
            parts.setdefault(part[1], {})[part[2]] = cell
    return said | parts


def value_of(field: str, cell: str) -> object:
    """What a cell says, in the type of its field."""
    if field in TEXTS:
        return cell
    text = cell.strip()
    if field in LISTS and not text.startswith("["):
        parts = [part.strip() for part in text.split(";") if part.strip()]
        return [_principle(part) for part in parts] if field == "principles" else parts
    if field in BOOLEANS:
        return _YES_AND_NO.get(text.lower(), cell)
    is_number = field not in JSON_VALUES and field not in LISTS
    try:
        return parse_json((text.replace(",", ".") if is_number else text).encode())
    except JsonSyntaxError:
        return cell


def _principle(text: str) -> str | Mapping[str, object]:
    weighed = _WEIGHT.fullmatch(text)
    return text if weighed is None else {"text": weighed[1], "weight": float(weighed[2].replace(",", "."))}
