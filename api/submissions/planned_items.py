"""The items of a judged job on their way to the database, so that storing them needs no second look at the request."""

from collections.abc import Iterable, Iterator
from typing import IO, Any

from pydantic_core import from_json, to_json

from db.queries.items import NewItem
from domain.json_values import JsonObject
from domain.preferences import EffectivePreference


class PlannedItems:
    """Resolved items and their preferences, kept in a file that the caller opens and closes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.num_items = 0
        self._file = file
        self._written_hashes: set[str] = set()

    def write(self, items: Iterable[tuple[NewItem, EffectivePreference]]) -> None:
        """Keep the items; of equal preferences, one."""
        for item, preference in items:
            is_new = item.preference_hash not in self._written_hashes
            self._file.write(to_json((*item, preference.body if is_new else None)) + b"\n")
            self._written_hashes.add(item.preference_hash)
            self.num_items += 1

    def read(self) -> Iterator[tuple[NewItem, JsonObject | None]]:
        """The items in order; the first one under a hash comes with its preference."""
        self._file.seek(0)
        for line in self._file:
            *fields, preference = from_json(line)
            row: Any = fields
            yield NewItem._make(row), preference
