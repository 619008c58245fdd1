"""The tables of models and of the workers that serve them. Pure declarations, as in `db.models`."""

import datetime as dt

from sqlalchemy import (
    JSON,
    BigInteger,
    String,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Digest, Moment, TimeOrderedId, state_type
from domain.json_values import JsonObject
from domain.states import WorkerState


class Model(Base):
    """A model under a name, as its workers registered it (`domain.model_descriptions`); the digest is what it is."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(256), primary_key=True)
    digest: Mapped[Digest] = mapped_column(primary_key=True, index=True)
    aliases: Mapped[list[str]]
    methods: Mapped[list[str]]
    default_method: Mapped[str] = mapped_column(String(16))
    max_length: Mapped[int]
    vocab_size: Mapped[int]
    num_template_tokens: Mapped[int]
    longest_token_bytes: Mapped[int]
    strength: Mapped[float]
    max_kl: Mapped[float | None]
    format: Mapped[str] = mapped_column(String(16))
    card: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    num_turn_tokens: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    """How fast one worker last wrote with it, by `worker.pipeline.throughput`; None until one has."""
    registered_at: Mapped[Moment]
    seen_at: Mapped[Moment]


class Worker(Base):
    """One incarnation of a worker process and what it last said of itself; its digest once the model is loaded."""

    __tablename__ = "workers"

    id: Mapped[TimeOrderedId]
    model: Mapped[str] = mapped_column(String(256))
    model_digest: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[WorkerState] = mapped_column(state_type(WorkerState, "state"))
    message: Mapped[str | None] = mapped_column(Text)
    tokens_per_second: Mapped[float | None]
    """How fast it writes, in tokens of all answers; None until it has."""
    num_slots: Mapped[int | None]
    num_active: Mapped[int | None]
    num_waiting: Mapped[int | None]
    cache_bytes_reserved: Mapped[int | None] = mapped_column(BigInteger)
    cache_bytes_used: Mapped[int | None] = mapped_column(BigInteger)
    cache_bytes_budget: Mapped[int | None] = mapped_column(BigInteger)
    """The engine's load, in the words of `EngineLoad`; None until the worker has said it."""
    started_at: Mapped[Moment]
    seen_at: Mapped[dt.datetime] = mapped_column(index=True)
