"""The tables. Pure declarations: every query lives in `db.queries`, every move between states in `domain.states`."""

import datetime as dt
import uuid

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Count, Digest, Moment, Name, RowId, TimeOrderedId, state_type
from domain.json_values import JsonObject
from domain.priorities import Priority
from domain.states import FitState, ItemState, JobState, UnknownUsers


class Tenant(Base):
    """Who holds API keys; nothing is visible across tenants."""

    __tablename__ = "tenants"
    __table_args__ = (CheckConstraint("weight > 0", name="weight"),)

    id: Mapped[TimeOrderedId]
    name: Mapped[Name] = mapped_column(unique=True)
    weight: Mapped[float] = mapped_column(server_default="1")
    """Its share of the workers beside other tenants that have work: 2 gets twice what 1 gets."""
    unknown_users: Mapped[UnknownUsers | None] = mapped_column(
        state_type(UnknownUsers, "unknown_users", is_checked=False)
    )
    """None: as the deployment has it."""
    created_at: Mapped[Moment]


class TenantShare(Base):
    """How much of a model's workers a tenant has had: what `db.queries.fairness` compares. A row once it had any."""

    __tablename__ = "tenant_shares"

    model_digest: Mapped[Digest] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    began_at: Mapped[float]
    """The virtual time at which its last claim began."""
    virtual_time: Mapped[float]
    """The same when that claim was served."""
    lag: Mapped[float] = mapped_column(server_default="0")
    """How far it stands behind that among the tenants in credit."""


class ApiKey(Base):
    """One API key, as the SHA-256 of its text; the text itself is shown once and kept nowhere."""

    __tablename__ = "api_keys"

    id: Mapped[TimeOrderedId]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    name: Mapped[Name]
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[Digest] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[Moment]
    expires_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]


class Profile(Base):
    """A user's stored preferences: the head of a list of immutable versions."""

    __tablename__ = "profiles"
    __table_args__ = (UniqueConstraint("tenant_id", "user_id"),)

    id: Mapped[TimeOrderedId]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    user_id: Mapped[Name]
    version: Mapped[int]
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class ProfileVersion(Base):
    """One version of a profile; nothing of it changes once it is written."""

    __tablename__ = "profile_versions"

    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[JsonObject]
    digest: Mapped[Digest]
    learned: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[Moment]


class ProfileTag(Base):
    """A tag of a profile's newest version: what lists and audiences filter by."""

    __tablename__ = "profile_tags"
    __table_args__ = (Index(None, "tenant_id", "tag", "profile_id"),)

    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))


class Preference(Base):
    """The canonical guidance behind a preference hash (see `domain.preferences`), stored once per tenant."""

    __tablename__ = "preferences"

    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[Digest] = mapped_column(primary_key=True)
    body: Mapped[JsonObject]


class JobPreference(Base):
    """That some item of a job has a preference, so that one that no job has is found (`db.queries.preferences`)."""

    __tablename__ = "job_preferences"
    __table_args__ = (Index(None, "tenant_id", "preference_hash"),)

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    preference_hash: Mapped[Digest] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID]


class Job(Base):
    """What a client submits, and how far it is: five counters that add up to `num_items` at every commit.

    `db.queries.counters` moves them, and keeps the two marks of the rate: how many items had ended at a moment.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "tenant_id", "id"),
        Index(
            "ix_jobs_open", "id", postgresql_where=text("finished_at IS NULL"), sqlite_where=text("finished_at IS NULL")
        ),
        # No counter stands in an index: they change all the time, and PostgreSQL then updates the row in its page.
        Index(
            "ix_jobs_claimable",
            *("model_digest", "id"),
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
        Index(
            "ix_jobs_waiting",
            *("tenant_id", "model_digest", "id"),
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
        Index(
            "ix_jobs_winding_up",
            "id",
            postgresql_where=text("is_winding_up"),
            sqlite_where=text("is_winding_up"),
        ),
        Index(
            "ix_jobs_deadlines",
            "expires_at",
            postgresql_where=text("finished_at IS NULL AND expires_at IS NOT NULL"),
            sqlite_where=text("finished_at IS NULL AND expires_at IS NOT NULL"),
        ),
        Index(
            "ix_jobs_named",
            *("tenant_id", "name", "id"),
            postgresql_where=text("name IS NOT NULL"),
            sqlite_where=text("name IS NOT NULL"),
        ),
        Index(
            "ix_jobs_deleted",
            "id",
            postgresql_where=text("deleted_at IS NOT NULL"),
            sqlite_where=text("deleted_at IS NOT NULL"),
        ),
        Index(
            "ix_jobs_passing",
            "id",
            postgresql_where=text("NOT is_announced"),
            sqlite_where=text("is_announced = 0"),
        ),
    )

    id: Mapped[TimeOrderedId]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    state: Mapped[JobState] = mapped_column(state_type(JobState, "state"))
    model: Mapped[str] = mapped_column(String(256))
    model_digest: Mapped[str | None] = mapped_column(String(64))
    details: Mapped[JsonObject] = mapped_column("metadata")
    name: Mapped[str | None] = mapped_column(String(128))
    """What its tenant calls it; several jobs may have one name."""
    num_items: Mapped[int]
    num_queued: Mapped[Count]
    num_running: Mapped[Count]
    num_succeeded: Mapped[Count]
    num_failed: Mapped[Count]
    num_cancelled: Mapped[Count]
    holdout_share: Mapped[float | None]
    holdout_seed: Mapped[int | None]
    """Which of its users get the unguided text (`domain.holdouts`)."""
    num_holdout: Mapped[Count]
    num_skipped: Mapped[Count]
    """How many users of its audience lacked an attribute, and have no item."""
    is_winding_up: Mapped[bool] = mapped_column(server_default=false())
    """It ended early and counts as such, and some of its items are still to follow (`db.queries.cancelling`)."""
    is_announced: Mapped[bool] = mapped_column(server_default=true())
    """Whether webhooks are told of its end: not of a request that is answered at once."""
    priority: Mapped[Priority] = mapped_column(state_type(Priority, "priority"), server_default=Priority.NORMAL.value)
    not_before: Mapped[dt.datetime | None]
    window_seconds: Mapped[int | None]
    """Its completion window; `expires_at` is when that ends, counted from the submission or the last retry."""
    expires_at: Mapped[dt.datetime | None]
    """Its deadline: what has not ended then never will (`db.queries.deadlines`)."""
    paused_at: Mapped[dt.datetime | None]
    """Since when nothing of it is claimed; None: it is not paused."""
    claimed_at: Mapped[dt.datetime | None]
    """When items of it were last claimed."""
    deleted_at: Mapped[dt.datetime | None]
    """From then on nobody sees it, and its rows are being removed (`db.queries.deleting`)."""
    rate_since: Mapped[dt.datetime | None]
    rate_base: Mapped[Count]
    rate_mark: Mapped[dt.datetime | None]
    rate_mark_base: Mapped[Count]
    created_at: Mapped[Moment]
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]


class Item(Base):
    """One row of a job, in input order, pinned to a profile version; also the queue entry that workers claim."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("job_id", "position"),
        UniqueConstraint("job_id", "custom_id"),
        CheckConstraint("(state = 'running') = (lease_owner IS NOT NULL)", name="lease_while_running"),
        # The claim reads this index in order: a stretch of the job after the other, in each one group after the other.
        Index(
            "ix_items_stretches",
            *("model_digest", "job_id", "stretch", "preference_hash", "position"),
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        Index(
            "ix_items_leases",
            *("lease_owner", "lease_until"),
            postgresql_where=text("state = 'running'"),
            sqlite_where=text("state = 'running'"),
        ),
        Index(
            "ix_items_overdue",
            "lease_until",
            postgresql_where=text("state = 'running'"),
            sqlite_where=text("state = 'running'"),
        ),
        Index("ix_items_states", "job_id", "state", "position"),  # a page of those that ended some way, in order
    )

    id: Mapped[RowId]
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    position: Mapped[int]
    custom_id: Mapped[Name]
    user_id: Mapped[Name]
    """Empty where nobody was named."""
    profile_version: Mapped[int]
    """0 where the user had no profile, or nobody was named; profiles begin at 1."""
    preference_hash: Mapped[Digest]
    model: Mapped[str] = mapped_column(String(256))
    model_digest: Mapped[str | None] = mapped_column(String(64))
    messages: Mapped[list[JsonObject]]
    sampling: Mapped[JsonObject]
    state: Mapped[ItemState] = mapped_column(state_type(ItemState, "state"))
    attempt: Mapped[int]
    """How many times it was claimed and not given back: with the id, the name of an attempt."""
    stretch: Mapped[Count]
    """Which part of the job it is in: groups are formed within one (`db.queries.items`)."""
    num_deaths: Mapped[Count]
    """In how many attempts the engine died while it decoded this item."""
    lease_owner: Mapped[uuid.UUID | None]
    lease_until: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]


class Result(Base):
    """What the database keeps for an item that ended: its text, or why there is none."""

    __tablename__ = "results"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    text: Mapped[str | None] = mapped_column(Text)
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    stop_text: Mapped[str | None] = mapped_column(Text)
    """Before which of the item's stop texts it ends; NULL where it ends otherwise."""
    num_prompt_tokens: Mapped[int | None]
    num_completion_tokens: Mapped[int | None]
    reward: Mapped[float | None]
    rewards: Mapped[list[float] | None]
    kl: Mapped[float | None]
    choices: Mapped[list[JsonObject] | None] = mapped_column(JSON(none_as_null=True))
    token_rewards: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    """What guided each token of the text; of previews that ask for it."""
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)


class FeedbackPair(Base):
    """Two texts for one prompt, and which of them the profile's user preferred."""

    __tablename__ = "feedback_pairs"
    __table_args__ = (UniqueConstraint("profile_id", "digest"),)

    id: Mapped[RowId]
    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profiles.id", ondelete="CASCADE"))
    digest: Mapped[Digest]
    messages: Mapped[list[JsonObject]]
    chosen: Mapped[str] = mapped_column(Text)
    rejected: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Moment]


class FeedbackRating(Base):
    """How much the profile's user liked a text. Two of one prompt make a pair; `digest` is of the text, too."""

    __tablename__ = "feedback_ratings"
    __table_args__ = (UniqueConstraint("profile_id", "digest"), Index(None, "profile_id", "prompt_digest"))

    id: Mapped[RowId]
    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profiles.id", ondelete="CASCADE"))
    digest: Mapped[Digest]
    prompt_digest: Mapped[Digest]
    text: Mapped[str] = mapped_column(Text)
    rating: Mapped[float]
    created_at: Mapped[Moment]


class Fit(Base):
    """One fit of a profile's weights to its feedback; also the queue entry that workers claim."""

    __tablename__ = "fits"
    __table_args__ = (
        CheckConstraint("(state = 'running') = (lease_owner IS NOT NULL)", name="lease_while_running"),
        Index(None, "profile_id", "id"),
        Index(
            "ix_fits_queue",
            *("model_digest", "id"),
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        Index(
            "ix_fits_leases",
            "lease_until",
            postgresql_where=text("state = 'running'"),
            sqlite_where=text("state = 'running'"),
        ),
    )

    id: Mapped[TimeOrderedId]
    profile_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("profiles.id", ondelete="CASCADE"))
    model: Mapped[str] = mapped_column(String(256))
    model_digest: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[FitState] = mapped_column(state_type(FitState, "state"))
    attempt: Mapped[int]
    lease_owner: Mapped[uuid.UUID | None]
    lease_until: Mapped[dt.datetime | None]
    num_pairs: Mapped[int | None]
    version: Mapped[int | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Moment]
    finished_at: Mapped[dt.datetime | None]
