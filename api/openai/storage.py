"""An uploaded file on its way into the database and out of it again, a chunk at a time."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import IO

from api.http.bodies import SPOOL_IN_MEMORY_BYTES
from api.http.errors import UnavailableError
from api.openai.uploads import Upload
from db.queries import files
from db.queries.files import CHUNK_BYTES, FileRecord
from db.session import Database


def store(database: Database, tenant_id: uuid.UUID, upload: Upload) -> FileRecord:
    """Keep the file; each chunk is a transaction of its own, and nobody sees the file before the last."""
    with database.transaction() as session:
        file_id = files.begin(session, tenant_id=tenant_id, filename=upload.filename, purpose=upload.purpose)
    number = 0
    while data := upload.file.read(CHUNK_BYTES):
        with database.transaction() as session:
            files.add_chunk(session, file_id, number, data)
        number += 1
    with database.transaction() as session:
        is_whole = files.complete(session, file_id, num_bytes=upload.num_bytes, seconds=upload.seconds)
        record = files.find_file(session, tenant_id=tenant_id, file_id=file_id)
    if not is_whole or record is None:
        raise UnavailableError("The upload took too long; send the file again.")
    return record


@contextmanager
def opened(database: Database, file_id: uuid.UUID, num_bytes: int) -> Iterator[IO[bytes]]:
    """The bytes of a file, in memory while they are few and in an unnamed file once they are not.

    Raises `FileGoneError` where the file is removed meanwhile.
    """
    with SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES) as file:
        for chunk in files.read_chunks(database, file_id, num_bytes):
            file.write(chunk)
        file.seek(0)
        yield file
