"""What every table shares: naming, column types and ids."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Annotated

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, Integer, MetaData, String, TypeDecorator, Uuid
from sqlalchemy.orm import DeclarativeBase, mapped_column
from uuid_utils.compat import uuid7

from domain.json_values import JsonObject


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A moment in UTC. SQLite keeps no zone, so it is put back on the way out; a naive value is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Send a moment to the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = "A moment needs a time zone."
            raise ValueError(message)
        moment = value.astimezone(dt.UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Read a moment from the database."""
        if value is None or value.tzinfo is dt.UTC:
            return value
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def new_id() -> uuid.UUID:
    """A time-ordered id (UUID version 7), so that "by id" is "by age"."""
    return uuid7()


def state_type(states: type[StrEnum], name: str, *, is_checked: bool = True) -> Enum:
    """A state column: text, with a named CHECK that knows every state unless the column came later than its table."""
    return Enum(
        states,
        name=name,
        native_enum=False,
        create_constraint=is_checked,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


# Column vocabulary, so that a model reads as a table.
Moment = Annotated[dt.datetime, mapped_column(UtcDateTime)]
RowId = Annotated[int, mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)]
TimeOrderedId = Annotated[uuid.UUID, mapped_column(Uuid, primary_key=True, default=new_id)]
Count = Annotated[int, mapped_column(server_default="0")]
Name = Annotated[str, mapped_column(String(128))]
Digest = Annotated[str, mapped_column(String(64))]


class Base(DeclarativeBase):
    """The declarative base: every constraint and index gets a predictable name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        JsonObject: JSON,
        list[str]: JSON,
        list[float]: JSON,
        list[JsonObject]: JSON,
        dt.datetime: UtcDateTime,
    }
