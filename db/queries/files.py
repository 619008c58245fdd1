"""Files in chunks: stored bit by bit, read bit by bit, gone at a moment that was said before.

An upload is not seen until it is whole. One that was given up expires as files do.
"""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.orm import Session

from db.base import new_id
from db.openai_models import FileChunk, StoredFile
from db.session import Database, clock

CHUNK_BYTES = 2**20
UPLOAD_SECONDS = 3600
"""How long an upload may take; what is not whole then is removed."""
FILES_PER_SWEEP = 20

_UNSYNCHRONISED = {"synchronize_session": False}


class FileGoneError(Exception):
    """The file was removed, or has expired, while it was read."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One whole file, without its bytes."""

    id: uuid.UUID
    filename: str
    purpose: str
    num_bytes: int
    created_at: dt.datetime
    expires_at: dt.datetime | None


def begin(session: Session, *, tenant_id: uuid.UUID, filename: str, purpose: str) -> uuid.UUID:
    """A file that nobody sees yet; return its id."""
    file_id = new_id()
    session.execute(
        insert(StoredFile).values(
            id=file_id,
            tenant_id=tenant_id,
            filename=filename,
            purpose=purpose,
            num_bytes=0,
            created_at=clock(),
            expires_at=clock(UPLOAD_SECONDS),
        )
    )
    return file_id


def add_chunk(session: Session, file_id: uuid.UUID, number: int, data: bytes) -> None:
    """Store the next part of a file."""
    session.execute(insert(FileChunk).values(file_id=file_id, number=number, data=data))


def complete(session: Session, file_id: uuid.UUID, *, num_bytes: int, seconds: int | None) -> bool:
    """The file is whole and is seen from now on, for so many seconds. False when its upload was given up before.

    It counts as created now: its life is reckoned from there, and an upload may take a while.
    """
    whole = (
        update(StoredFile)
        .where(StoredFile.id == file_id, ~StoredFile.is_stored)
        .values(
            is_stored=True,
            num_bytes=num_bytes,
            created_at=clock(),
            expires_at=None if seconds is None else clock(seconds),
        )
        .returning(StoredFile.id)
    )
    return session.execute(whole, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def find_file(session: Session, *, tenant_id: uuid.UUID, file_id: uuid.UUID) -> FileRecord | None:
    """The tenant's file under this id, unless it has expired."""
    row = session.execute(select(*_RECORD).where(*_visible(tenant_id), StoredFile.id == file_id)).one_or_none()
    return None if row is None else FileRecord(*row)


def list_files(
    session: Session, *, tenant_id: uuid.UUID, limit: int, beyond: uuid.UUID | None, newest_first: bool
) -> list[FileRecord]:
    """The tenant's files in the order of their age, from behind `beyond` on."""
    statement = select(*_RECORD).where(*_visible(tenant_id))
    if beyond is not None:
        statement = statement.where(StoredFile.id < beyond if newest_first else StoredFile.id > beyond)
    ordered = statement.order_by(StoredFile.id.desc() if newest_first else StoredFile.id)
    return [FileRecord(*row) for row in session.execute(ordered.limit(limit))]


def read_chunks(database: Database, file_id: uuid.UUID, num_bytes: int) -> Iterator[bytes]:
    """The bytes of a file of this size, each part read by itself: a slow reader keeps nobody waiting.

    Raises `FileGoneError` where the file is removed meanwhile: its beginning is never taken for the whole.
    """
    number, num_left = 0, num_bytes
    while num_left > 0:
        named = (FileChunk.file_id == file_id, FileChunk.number == number)
        with database.reading() as session:
            data = session.scalars(select(FileChunk.data).where(*named)).one_or_none()
        if data is None:
            raise FileGoneError
        yield bytes(data)
        number, num_left = number + 1, num_left - len(data)


def delete_file(session: Session, *, tenant_id: uuid.UUID, file_id: uuid.UUID) -> bool:
    """Remove a file. False when there is none under this id."""
    gone = delete(StoredFile).where(*_visible(tenant_id), StoredFile.id == file_id).returning(StoredFile.id)
    return session.execute(gone, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def expired(session: Session) -> list[uuid.UUID]:
    """Some of the files that nobody may see any more, or whose uploads were given up."""
    over = select(StoredFile.id).where(StoredFile.expires_at <= clock()).limit(FILES_PER_SWEEP)
    return list(session.scalars(over))


def remove_expired(session: Session, file_id: uuid.UUID) -> None:
    """Remove a file whose time is over, with its bytes."""
    over = delete(StoredFile).where(StoredFile.id == file_id, StoredFile.expires_at <= clock())
    session.execute(over, execution_options=_UNSYNCHRONISED)


_RECORD = (
    *(StoredFile.id, StoredFile.filename, StoredFile.purpose, StoredFile.num_bytes),
    *(StoredFile.created_at, StoredFile.expires_at),
)


def _visible(tenant_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    in_time = or_(StoredFile.expires_at.is_(None), StoredFile.expires_at > clock())
    return (StoredFile.tenant_id == tenant_id, StoredFile.is_stored.is_(True), in_time)
