"""What users said of texts: pairs of which one was preferred. Stores them, and asks for a fit to them."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.base import new_id
from db.batches import batches
from db.conflicts import insert_or_ignore
from db.models import FeedbackPair, FeedbackRating, Fit
from db.session import now
from domain.pairs import PreferredPair
from domain.states import FitState

ROWS_PER_QUERY = 500
LEAST_PAIRS = 5
"""Pairs from which on weights are learnt: fewer say more of chance than of a user."""
LEAST_PRINCIPLES = 2
"""Principles that a profile must have to be learnt: one has nothing to be weighed against."""
WITHDRAWN = "feedback_withdrawn"


@dataclass(frozen=True, slots=True)
class Added:
    """What became of some pairs; they are counted from 0."""

    num_new: int
    num_duplicate: int
    contradictions: tuple[int, ...]
    """Those that are stored the other way round, or were sent both ways."""


@dataclass(frozen=True, slots=True)
class StoredFit:
    """A fit and what came of it."""

    fit_id: uuid.UUID
    state: FitState
    num_pairs: int | None
    version: int | None
    error_code: str | None
    error_message: str | None
    created_at: dt.datetime
    finished_at: dt.datetime | None


def add_pairs(session: Session, profile_id: uuid.UUID, pairs: Sequence[PreferredPair]) -> Added:
    """Store pairs that are not stored yet. Where one contradicts another, the caller must not commit."""
    moment = now(session)
    num_new = 0
    for some in batches(pairs, ROWS_PER_QUERY):
        rows = [
            {
                "profile_id": profile_id,
                "digest": pair.digest,
                "messages": pair.messages,
                "chosen": pair.chosen,
                "rejected": pair.rejected,
                "created_at": moment,
            }
            for pair in some
        ]
        stored = session.scalars(insert_or_ignore(session, FeedbackPair).returning(FeedbackPair.id), rows)
        num_new += len(stored.all())
    chosen = _chosen(session, profile_id, {pair.digest for pair in pairs})
    contradictions = tuple(index for index, pair in enumerate(pairs) if chosen[pair.digest] != pair.chosen)
    return Added(num_new, len(pairs) - num_new, contradictions)


def _chosen(session: Session, profile_id: uuid.UUID, digests: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for some in batches(sorted(digests), ROWS_PER_QUERY):
        rows = session.execute(
            select(FeedbackPair.digest, FeedbackPair.chosen).where(
                FeedbackPair.profile_id == profile_id, FeedbackPair.digest.in_(some)
            )
        )
        found.update((row.digest, row.chosen) for row in rows)
    return found


def withdraw(session: Session, profile_id: uuid.UUID) -> None:
    """Remove all pairs and ratings of a profile, and end a fit that waits or runs: its worker can write nothing."""
    session.execute(delete(FeedbackPair).where(FeedbackPair.profile_id == profile_id))
    session.execute(delete(FeedbackRating).where(FeedbackRating.profile_id == profile_id))
    session.execute(
        update(Fit)
        .where(Fit.profile_id == profile_id, Fit.state.in_((FitState.QUEUED, FitState.RUNNING)))
        .values(
            state=FitState.FAILED,
            lease_owner=None,
            lease_until=None,
            finished_at=now(session),
            error_code=WITHDRAWN,
            error_message="The feedback was withdrawn before it was learnt from.",
        )
    )


def num_pairs(session: Session, profile_id: uuid.UUID) -> int:
    """Pairs that are stored of a profile."""
    return session.scalars(select(func.count()).where(FeedbackPair.profile_id == profile_id)).one()


def request_fit(session: Session, profile_id: uuid.UUID, *, model: str, model_digest: str) -> StoredFit:
    """Queue a fit; where one is queued already, that one will read the new pairs, too, with the model of now."""
    waiting = latest_fit(session, profile_id)
    if waiting is not None:
        queued = update(Fit).where(Fit.id == waiting.fit_id, Fit.state == FitState.QUEUED)
        renamed = queued.values(model=model, model_digest=model_digest).returning(Fit.id)
        if session.scalars(renamed).one_or_none() is not None:
            return waiting
    fit = Fit(
        id=new_id(),
        profile_id=profile_id,
        model=model,
        model_digest=model_digest,
        state=FitState.QUEUED,
        attempt=0,
        lease_owner=None,
        lease_until=None,
        num_pairs=None,
        version=None,
        error_code=None,
        error_message=None,
        created_at=now(session),
        finished_at=None,
    )
    session.add(fit)
    session.flush()
    return StoredFit(fit.id, fit.state, None, None, None, None, fit.created_at, None)


def latest_fit(session: Session, profile_id: uuid.UUID) -> StoredFit | None:
    """The newest fit of a profile."""
    columns = (Fit.id, Fit.state, Fit.num_pairs, Fit.version, Fit.error_code, Fit.error_message)
    row = session.execute(
        select(*columns, Fit.created_at, Fit.finished_at)
        .where(Fit.profile_id == profile_id)
        .order_by(Fit.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else StoredFit(*row)
