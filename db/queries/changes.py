"""Marks of what pages show: equal for as long as a page shows the same, and cheap to ask for again and again.

A mark is no content: whoever sees another one looks for itself. Each kind of subject costs one statement, however many
of it are asked about; of open jobs, a tenant's are summed up, and nothing here grows with the number of ended ones.
"""

import uuid
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import Select, bindparam, case, extract, func, select, tuple_
from sqlalchemy.orm import Session

from db.models import FeedbackPair, FeedbackRating, Fit, Job, Profile
from db.queries import counters, dashboard_sessions, fairness
from db.queries.workers import ALIVE_SECONDS
from db.registry_models import Worker
from db.session import clock
from db.webhook_models import Webhook, WebhookDelivery

LAST_DELIVERIES = 100
"""Of a webhook: an older delivery that moves is not noticed."""

Mark: TypeAlias = Hashable


@dataclass(frozen=True, slots=True)
class OneJob:
    """A job's state and counters."""

    job_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class OpenJobs:
    """What a tenant has that has not ended."""

    tenant_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Serving:
    """Which workers are there, and in what state."""


@dataclass(frozen=True, slots=True)
class Load:
    """The same, and how full and how fast each is."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """A webhook, and what became of its last events."""

    webhook_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Learning:
    """A user's profile, its feedback and the newest fit."""

    tenant_id: uuid.UUID
    user_id: str


@dataclass(frozen=True, slots=True)
class Visit:
    """Whether somebody is still signed in by this token."""

    token: str


Subject: TypeAlias = OneJob | OpenJobs | Serving | Load | Deliveries | Learning | Visit


def marks_of(session: Session, subjects: Collection[Subject]) -> dict[Subject, Mark]:
    """The mark of each subject that there is."""
    found: dict[Subject, Mark] = {}
    if job_ids := [each.job_id for each in subjects if isinstance(each, OneJob)]:
        rows = session.execute(_jobs(), {"the_jobs": job_ids})
        found.update((OneJob(row[0]), tuple(row[1:])) for row in rows)
    if tenant_ids := [each.tenant_id for each in subjects if isinstance(each, OpenJobs)]:
        rows = session.execute(_open_jobs(), {"the_tenants": tenant_ids})
        found.update((OpenJobs(row[0]), tuple(row[1:])) for row in rows)
    if any(isinstance(each, Serving | Load) for each in subjects):
        workers = [tuple(row) for row in session.execute(_workers())]
        found[Load()] = tuple(workers)
        found[Serving()] = tuple(row[:NUM_SERVING_COLUMNS] for row in workers)
    for webhook in (each for each in subjects if isinstance(each, Deliveries)):
        found[webhook] = tuple(map(tuple, session.execute(_deliveries(), {"the_webhook": webhook.webhook_id})))
    if learning := [(each.tenant_id, each.user_id) for each in subjects if isinstance(each, Learning)]:
        rows = session.execute(_learning(), {"the_users": learning})
        found.update((Learning(*row[:2]), tuple(row[2:])) for row in rows)
    if tokens := [each.token for each in subjects if isinstance(each, Visit)]:
        found.update((Visit(token), True) for token in dashboard_sessions.valid_among(session, tokens))
    return found


NUM_SERVING_COLUMNS = 5


@cache  # asked again and again, as all below: building a statement takes longer than running it
def _jobs() -> Select[*tuple[Any, ...]]:
    """A row a job. Three things move by the clock alone: the rate fades, a wait ends, a deadline passes."""
    return select(
        *(Job.id, Job.state, Job.num_queued, Job.num_running, Job.num_succeeded, Job.num_failed, Job.num_cancelled),
        *(Job.started_at, Job.finished_at, Job.paused_at, Job.priority),
        Job.rate_mark > clock(-counters.RATE_STALE_SECONDS),
        Job.not_before > clock(),
        Job.expires_at > clock(),
    ).where(Job.id.in_(bindparam("the_jobs", expanding=True)), Job.deleted_at.is_(None))


@cache
def _open_jobs() -> Select[*tuple[Any, ...]]:
    """A row a tenant that has any: sums that hardly any moves leave as they are. `created_at` tells jobs apart."""
    moved = (Job.num_queued, Job.num_running, Job.num_succeeded, Job.num_failed, Job.num_cancelled)
    true_of = (
        Job.paused_at.is_not(None),
        Job.started_at.is_not(None),
        Job.rate_mark > clock(-counters.RATE_STALE_SECONDS),
        Job.not_before > clock(),
        Job.expires_at > clock(),
    )
    return (
        select(
            Job.tenant_id,
            func.count(),
            func.sum(extract("epoch", Job.created_at)),
            func.sum(fairness.rank()),
            *(func.sum(column) for column in moved),
            *(func.count(case((each, 1))) for each in true_of),
        )
        .where(Job.tenant_id.in_(bindparam("the_tenants", expanding=True)), Job.finished_at.is_(None))
        .group_by(Job.tenant_id)
    )


@cache
def _workers() -> Select[*tuple[Any, ...]]:
    serving = (Worker.id, Worker.state, Worker.model_digest, Worker.message, Worker.seen_at > clock(-ALIVE_SECONDS))
    load = (Worker.tokens_per_second, Worker.num_active, Worker.num_waiting, Worker.cache_bytes_used)
    return select(*serving, *load).order_by(Worker.id)


@cache
def _deliveries() -> Select[*tuple[Any, ...]]:
    told = (WebhookDelivery.id, WebhookDelivery.state, WebhookDelivery.attempt, WebhookDelivery.attempted_at)
    return (
        select(*told, Webhook.updated_at, Webhook.is_enabled, Webhook.failing_since)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(WebhookDelivery.webhook_id == bindparam("the_webhook"))
        .order_by(WebhookDelivery.id.desc())
        .limit(LAST_DELIVERIES)
    )


@cache
def _learning() -> Select[*tuple[Any, ...]]:
    pairs = select(func.count()).where(FeedbackPair.profile_id == Profile.id).scalar_subquery()
    ratings = select(func.count()).where(FeedbackRating.profile_id == Profile.id).scalar_subquery()
    newest = select(Fit.state).where(Fit.profile_id == Profile.id).order_by(Fit.id.desc()).limit(1).scalar_subquery()
    fits = select(func.count()).where(Fit.profile_id == Profile.id).scalar_subquery()
    return select(
        *(Profile.tenant_id, Profile.user_id, Profile.version, Profile.updated_at, pairs, ratings, fits, newest)
    ).where(tuple_(Profile.tenant_id, Profile.user_id).in_(bindparam("the_users", expanding=True)))
