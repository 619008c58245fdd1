"""Profiles as rows of a table. A cell holds what a field holds; an empty one says nothing.

Columns are named like fields; `attributes.first_name` and `metadata.crm` are an attribute and an entry of the metadata.
Tags and principles stand in one cell, with semicolons between them, a principle as TEXT or TEXT=WEIGHT; a JSON list is
taken, too, and written where a text holds what would part it.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, cast

from padserve.csv_text import csv_line

TEXTS = frozenset({"user_id", "method"})
NUMBERS = frozenset({"strength", "max_kl"})
LISTS = frozenset({"principles", "tags", "examples"})
FLAGS = frozenset({"learn"})
GROUPS = ("attributes", "metadata")
FIELDS = ("user_id", "principles", "method", "strength", "max_kl", "examples", "tags", "learn")
SEPARATOR = ";"
TRUE = frozenset({"true", "yes", "1"})
FALSE = frozenset({"false", "no", "0"})


def is_field(name: str) -> bool:
    """Whether a column may hold it."""
    group, dot, entry = name.partition(".")
    return name in FIELDS or bool(group in GROUPS and dot and entry)


def field_in(pointer: str) -> str:
    """The field that a JSON pointer is in."""
    name, *rest = pointer.strip("/").split("/")
    return f"{name}.{rest[0]}" if name in GROUPS and rest else name


def profile_of(values: Mapping[str, object], _number: int) -> dict[str, object]:
    """The values of one row as a profile."""
    profile: dict[str, object] = {}
    for field, value in values.items():
        group, dot, entry = field.partition(".")
        if dot:
            cast("dict[str, object]", profile.setdefault(group, {}))[entry] = str(value)
        else:
            profile[field] = _read(field, value)
    return profile


def _read(field: str, value: object) -> object:
    if not isinstance(value, str):
        return str(value) if field in TEXTS else value
    text = value.strip()
    if field in TEXTS:
        return value
    if field in FLAGS:
        return True if text.lower() in TRUE else False if text.lower() in FALSE else text
    if field in LISTS and not text.startswith("["):
        parts = [part.strip() for part in text.split(SEPARATOR) if part.strip()]
        return [value] if field == "examples" else list(map(_principle, parts)) if field == "principles" else parts
    try:
        return json.loads(text.replace(",", ".") if field in NUMBERS else text)
    except ValueError:
        return text  # the server says what is wrong with it


def _principle(text: str) -> object:
    """TEXT or TEXT=WEIGHT."""
    words, equals, weight = text.rpartition("=")
    return {"text": words.strip(), "weight": float(weight)} if equals and _is_number(weight) else text


def write_profiles(lines: Iterable[str], spool: IO[bytes]) -> Iterator[str]:
    """CSV of an export's lines. `spool` holds them meanwhile: the columns are known after the last."""
    columns: dict[str, None] = dict.fromkeys(FIELDS)
    for line in lines:
        spool.write(line.encode() + b"\n")
        columns |= dict.fromkeys(_entries(json.loads(line)))
    spool.seek(0)
    groups = [name for group in GROUPS for name in sorted(columns) if name.startswith(f"{group}.")]
    names = [*FIELDS, *groups]
    yield csv_line(names)
    for raw in spool:
        profile = json.loads(raw)
        row = {name: _written(name, profile.get(name)) for name in FIELDS} | _entries(profile)
        yield csv_line(row.get(name) for name in names)


def _entries(profile: Mapping[str, Any]) -> dict[str, object]:
    return {f"{group}.{name}": value for group in GROUPS for name, value in profile.get(group, {}).items()}


def _written(field: str, value: Any) -> object:  # noqa: ANN401 - JSON
    if field not in LISTS or not isinstance(value, list):
        return value
    parts = _weighed(value) if field == "principles" else value
    plain = [part for part in parts if isinstance(part, str) and _is_plain(part)]
    return f"{SEPARATOR} ".join(plain) if len(plain) == len(parts) and field != "examples" else value


def _weighed(principles: Sequence[Mapping[str, Any]]) -> list[object]:
    """Each as TEXT, or each as TEXT=WEIGHT where one has a weight; as it is where that would be read otherwise."""
    if any(entry["weight"] != 1 for entry in principles):
        return [f"{entry['text']}={entry['weight']!r}" for entry in principles]
    return [entry["text"] if isinstance(_principle(entry["text"]), str) else entry for entry in principles]


def _is_plain(text: str) -> bool:
    return bool(text) and text == text.strip() and not text.startswith("[") and not {*text} & {SEPARATOR, "\n", "\r"}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
