"""Files as OpenAI writes them. Shapes only."""

from typing import Literal

from pydantic import BaseModel, Field

from api.openai.ids import FileName
from db.queries.files import FileRecord


class FileObject(BaseModel):
    """A file: one that was uploaded, or the results of a batch."""

    id: str
    object: Literal["file"] = "file"
    bytes: int = Field(description="0 of a batch's results until they are complete and have been asked for by id.")
    created_at: int = Field(description="In seconds since 1970.")
    expires_at: int | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileList(BaseModel):
    """A page of files. The next page is the one `after` this page's `last_id`."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """That a file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def uploaded(record: FileRecord) -> FileObject:
    """An uploaded file as clients see it."""
    return FileObject(
        id=str(FileName(record.id)),
        bytes=record.num_bytes,
        created_at=int(record.created_at.timestamp()),
        expires_at=None if record.expires_at is None else int(record.expires_at.timestamp()),
        filename=record.filename,
        purpose="batch",
    )
