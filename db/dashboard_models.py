"""The table of the dashboard's sessions. Pure declarations, as in `db.models`."""

import datetime as dt
import uuid

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Digest, Moment


class DashboardSession(Base):
    """One browser that signed in by an API key, which it may do what the key allows with, as long as the key is valid.

    Only the SHA-256 of its token is stored; the token itself lies in the browser's cookie and nowhere else.
    """

    __tablename__ = "dashboard_sessions"

    token_digest: Mapped[Digest] = mapped_column(primary_key=True)
    key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    csrf_secret: Mapped[str] = mapped_column(String(64))
    """What each of its forms has to send along."""
    created_at: Mapped[Moment]
    seen_at: Mapped[Moment]
    """When it last asked for something, to a minute."""
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)
