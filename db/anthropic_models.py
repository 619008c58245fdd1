"""The table of the Anthropic surface: message batches. Pure declarations, as in `db.models`."""

import datetime as dt
import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Digest, Moment, TimeOrderedId


class MessageBatch(Base):
    """A job that was submitted as a message batch. Where it stands, its job says; it goes with its job."""

    __tablename__ = "message_batches"
    __table_args__ = (Index(None, "tenant_id", "id"), Index(None, "tenant_id", "fingerprint", "id"))

    id: Mapped[TimeOrderedId]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    fingerprint: Mapped[Digest]
    """Digest of all that was sent, by which a request that is sent again is known."""
    created_at: Mapped[Moment]
    cancel_initiated_at: Mapped[dt.datetime | None]
