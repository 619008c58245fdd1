"""The items of a judged job on their way to the database, so that storing them needs no second look at the request."""

from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from pydantic_core import from_json, to_json

from db.queries.items import NewItem
from domain.json_values import JsonObject
from domain.preferences import EffectivePreference

ITEMS_PER_BATCH = 500
CHARACTERS_PER_BATCH = 2**20
"""Of prompts; so much, and one item more, is in memory at once."""


class PlannedBatch(NamedTuple):
    """Some of the items, and those of their preferences that no batch before has brought, by their hashes."""

    items: list[NewItem]
    preferences: dict[str, JsonObject]


class PlannedItems:
    """Resolved items and their preferences, kept in a file that the caller opens and closes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.num_items = 0
        self._file = file
        self._written_hashes: set[str] = set()

    def write(self, items: Iterable[tuple[NewItem, EffectivePreference]]) -> None:
        """Keep the items; of equal preferences, one."""
        rows: list[NewItem] = []
        bodies: dict[str, JsonObject] = {}
        num_characters = 0
        for item, preference in items:
            rows.append(item)
            num_characters += len(item.messages)
            if item.preference_hash not in self._written_hashes:
                self._written_hashes.add(item.preference_hash)
                bodies[item.preference_hash] = preference.body
            if len(rows) >= ITEMS_PER_BATCH or num_characters >= CHARACTERS_PER_BATCH:
                self._write(rows, bodies)
                rows, bodies, num_characters = [], {}, 0
        if rows:
            self._write(rows, bodies)

    def _write(self, rows: list[NewItem], bodies: dict[str, JsonObject]) -> None:
        columns = list(zip(*rows, strict=True))  # as rows that have names they would take three times as long
        self._file.write(to_json((columns, bodies)) + b"\n")
        self.num_items += len(rows)

    def read(self) -> Iterator[PlannedBatch]:
        """The items in order, batch by batch."""
        self._file.seek(0)
        for line in self._file:
            columns, bodies = from_json(line)
            yield PlannedBatch(list(map(NewItem._make, zip(*columns, strict=True))), bodies)
