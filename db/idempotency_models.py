"""The table of answers that are given again to repeats. Pure declarations, as in `db.models`."""

import datetime as dt
import uuid

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Digest, Moment
from domain.json_values import JsonObject


class IdempotencyRecord(Base):
    """The answer to a request that carried an `Idempotency-Key`, to be given again to its repeats."""

    __tablename__ = "idempotency_records"

    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    route: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_digest: Mapped[Digest]
    status_code: Mapped[int]
    response: Mapped[JsonObject]
    created_at: Mapped[Moment]
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)
