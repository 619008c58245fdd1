"""The tables of the OpenAI surface: files and batches. Pure declarations, as in `db.models`."""

import datetime as dt
import uuid

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Digest, Moment, TimeOrderedId
from domain.json_values import JsonObject


class StoredFile(Base):
    """A file that a client sent; its bytes are in `file_chunks`, so that every API process has them."""

    __tablename__ = "files"
    __table_args__ = (
        Index(None, "tenant_id", "id"),
        Index(
            "ix_files_expiring",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL"),
            sqlite_where=text("expires_at IS NOT NULL"),
        ),
    )

    id: Mapped[TimeOrderedId]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(32))
    num_bytes: Mapped[int] = mapped_column(BigInteger)
    is_stored: Mapped[bool] = mapped_column(server_default=false())
    """Whether it is whole. Until then nobody sees it, and `expires_at` is when its upload is given up."""
    created_at: Mapped[Moment]
    expires_at: Mapped[dt.datetime | None]
    """From then on nobody sees it, and its rows are removed."""


class FileChunk(Base):
    """A part of a file's bytes, in order from 0."""

    __tablename__ = "file_chunks"

    file_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Batch(Base):
    """A job that was submitted as a file; it has no job while the file is read, nor where the file was refused.

    Where it stands, its job says. The batch goes with its job.
    """

    __tablename__ = "batches"
    __table_args__ = (Index(None, "tenant_id", "id"), Index(None, "tenant_id", "fingerprint", "id"))

    id: Mapped[TimeOrderedId]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    endpoint: Mapped[str] = mapped_column(String(64))
    input_file_id: Mapped[uuid.UUID]
    """No foreign key: a file may be deleted once it was read."""
    completion_window: Mapped[str] = mapped_column(String(16))
    details: Mapped[JsonObject] = mapped_column("metadata")
    fingerprint: Mapped[Digest]
    """Digest of all that was asked for, by which a request that is sent again is known."""
    output_seconds: Mapped[int | None]
    """How long its output is kept once it has ended; None: for as long as the job."""
    errors: Mapped[list[JsonObject] | None] = mapped_column(JSON(none_as_null=True))
    """What was wrong with the file."""
    created_at: Mapped[Moment]
    read_by: Mapped[Moment]
    """By when the file must have been read; if nothing was decided by then, whoever read it has died."""
    failed_at: Mapped[dt.datetime | None]
    cancelling_at: Mapped[dt.datetime | None]
    output_deleted_at: Mapped[dt.datetime | None]
    error_deleted_at: Mapped[dt.datetime | None]
    totals: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    """Its tokens, and the sizes of its files: counted once it has ended, and of which end (`db.queries.batches`)."""
