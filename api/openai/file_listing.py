"""Uploaded files and the files of batches' results in one list, by age. A batch's files stand behind one another."""

import uuid
from collections.abc import Iterator
from functools import partial
from heapq import merge
from itertools import islice
from typing import NamedTuple

from api.openai.batch_views import find_batches, find_one
from api.openai.file_schemas import FileObject, uploaded
from api.openai.ids import FileName, Part
from api.openai.result_files import is_visible, result_file
from db.queries import batches, files
from db.session import Database

ROWS_PER_READ = 500
RANKS: dict[Part | None, int] = {None: 0, Part.OUTPUT: 1, Part.ERROR: 2}


class Listing(NamedTuple):
    """Which files of a tenant are listed, from where on, in which order."""

    tenant_id: uuid.UUID
    after: FileName | None
    newest_first: bool
    with_uploads: bool
    with_results: bool


def listed(database: Database, asked: Listing, limit: int) -> list[FileObject]:
    """The first files behind `after`, at most so many."""
    sources = [_uploads(database, asked, limit)] if asked.with_uploads else []
    if asked.with_results:
        sources.append(_results(database, asked, limit))
    ordered = merge(*sources, key=lambda found: found[0], reverse=asked.newest_first)
    return [file for _, file in islice(ordered, limit)]


Found = tuple[tuple[bytes, int], FileObject]


def _place(name: FileName) -> tuple[bytes, int]:
    """Where a file stands in the list: ids are by age."""
    return name.id.bytes, RANKS[name.part]


def _uploads(database: Database, asked: Listing, limit: int) -> Iterator[Found]:
    beyond = None if asked.after is None else asked.after.id
    with database.reading() as session:
        records = files.list_files(
            session, tenant_id=asked.tenant_id, limit=limit, beyond=beyond, newest_first=asked.newest_first
        )
    yield from ((_place(FileName(record.id)), uploaded(record)) for record in records)


def _results(database: Database, asked: Listing, limit: int) -> Iterator[Found]:
    """Read in parts: what was deleted or has expired is passed over."""
    parts = sorted(Part, key=RANKS.__getitem__, reverse=asked.newest_first)
    beyond = None
    if asked.after is not None:
        beyond = asked.after.id
        if asked.after.part is not None:  # the batch's other file may stand behind this one
            yield from _beside(database, asked, asked.after)
    while True:
        size = min(limit, ROWS_PER_READ)
        find = partial(
            batches.list_batches,
            tenant_id=asked.tenant_id,
            limit=size,
            beyond=beyond,
            newest_first=asked.newest_first,
            with_results=True,
        )
        found = find_batches(database, find)
        for each in found:
            names = (FileName(each.batch.id, part) for part in parts if is_visible(each, part))
            yield from ((_place(name), result_file(each, name.part)) for name in names if name.part)
        if len(found) < size:
            return
        beyond = found[-1].batch.id


def _beside(database: Database, asked: Listing, after: FileName) -> Iterator[Found]:
    behind = Part.OUTPUT if asked.newest_first else Part.ERROR
    found = find_one(database, asked.tenant_id, after.id)
    if after.part is not behind and found is not None and is_visible(found, behind):
        yield _place(FileName(after.id, behind)), result_file(found, behind)
