"""Profiles as rows of a table: CSV that the server imports as it is.

Columns are named like fields; `attributes.first_name` and `metadata.crm` are an attribute and an entry of the metadata.
Tags and principles stand in one cell, with semicolons between them, a principle as TEXT or TEXT=WEIGHT; where a text
holds what would part it, the cell is a JSON list.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from padserve.client.csv_text import csv_line

LISTS = frozenset({"principles", "tags", "examples"})
GROUPS = ("attributes", "metadata")
FIELDS = ("user_id", "principles", "method", "strength", "max_kl", "examples", "tags", "learn")
SEPARATOR = ";"
_WEIGHT = re.compile(r"[0-9]+(\.[0-9]+)?")


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
    if all(entry["weight"] == 1 for entry in principles):
        return [entry if "=" in entry["text"] else entry["text"] for entry in principles]
    return [
        f"{entry['text']}={entry['weight']!r}" if _WEIGHT.fullmatch(repr(entry["weight"])) else entry
        for entry in principles
    ]


def _is_plain(text: str) -> bool:
    return bool(text) and text == text.strip() and not text.startswith("[") and not {*text} & {SEPARATOR, "\n", "\r"}
