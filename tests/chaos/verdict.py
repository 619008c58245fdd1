"""What must be true after a chaos run: of the rows, of the results as clients read them, and of the history."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import httpx
from sqlalchemy import select

from db.models import Item
from db.queries.audit import leftovers, violations
from db.session import Database
from tests.chaos.history import broken_rules, said_in, unfinished, unsaid
from tests.chaos.jobs import Kind, Submitted
from tests.chaos.journal import read_journal

MOST_LINES = 20
SWEPT_SECONDS = 30.0


def verdict(database: Database, client: httpx.Client, jobs: Sequence[Submitted], logs: Iterable[Path]) -> list[str]:
    """A line for everything that is not as promised; empty: every promise was kept."""
    with database.reading() as session:
        rows = {**violations(session), **leftovers(session, seconds=SWEPT_SECONDS)}
        committed, strange = read_journal(session)
        never_ended = unfinished(committed).intersection(session.scalars(select(Item.id)))  # or deleted with its job
    history = [*strange, *broken_rules(committed), *unsaid(committed, said_in(logs))]
    history += [f"item {item_id} was claimed and never ended" for item_id in sorted(never_ended)]
    results = [line for job in jobs for line in _results(client, job)]
    return [f"{name}: {ids}" for name, ids in rows.items()] + history[:MOST_LINES] + results[:MOST_LINES]


def _results(client: httpx.Client, job: Submitted) -> list[str]:
    """Every item once, in input order, each as its job's kind promises."""
    answer = client.get(f"/v1/jobs/{job.job_id}")
    if job.kind is Kind.DELETED:
        is_gone = answer.status_code == httpx.codes.NOT_FOUND
        return [] if is_gone else [f"job {job.job_id} was deleted, and is still there"]
    told: dict[str, object] = answer.raise_for_status().json()
    if (complaint := job.complaint(told)) is not None:
        return [complaint]
    rows = _read(client, job.job_id)
    expected = [f"item-{place}" for place in range(len(job.prompts))]
    if [row["custom_id"] for row in rows] != expected:
        return [f"job {job.job_id}: results are not those of its items, in their order"]
    return [
        f"job {job.job_id}, {job.kind}, {row['custom_id']}: {row['state']} {row['text']!r} {row['error']}"
        for row, prompt in zip(rows, job.prompts, strict=True)
        if not job.is_as_promised(told["state"], row, prompt)
    ]


def _read(client: httpx.Client, job_id: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    after: int | None = None
    while True:
        position = {} if after is None else {"after": after}
        page = client.get(f"/v1/jobs/{job_id}/results", params={"limit": 1000, **position}).raise_for_status().json()
        rows += page["data"]
        after = page["next_after"]
        if not page["has_more"]:
            return rows
