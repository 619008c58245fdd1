"""What runs often reads by an index and sorts nothing large, in a table of many finished rows, on both databases."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, event, select, text
from sqlalchemy.orm import Session

from bench.system.databases import fill
from db.models import Item, Job
from db.queries import audit, cancelling, claims, jobs, losses, results
from db.queries.positions import Positions
from db.session import Database
from domain.attempts import Attempt, Outcome
from domain.states import JobState
from tests.builders import DIGEST, a_job, preference
from tests.servers import copy_of

OWNER = uuid.UUID(int=1)
NUM_FINISHED_JOBS = 40
ITEMS_PER_JOB = 500
MOST_SORTED = 1000
"""Rows: as many as one statement of a worker or of a sweep may be about."""


@dataclass
class Plans:
    """The plans of everything that was executed meanwhile."""

    statements: list[tuple[str, Any]] = field(default_factory=list)

    def record(self, _connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401 - SQLAlchemy's
        if statement.split(maxsplit=1)[0] in {"SELECT", "UPDATE", "WITH", "DELETE"}:
            self.statements.append((statement, parameters))

    def problems(self, connection: Connection) -> list[str]:
        """What each statement does that it should not."""
        find = _of_sqlite if connection.dialect.name == "sqlite" else _of_postgresql
        return [problem for statement, given in self.statements for problem in find(connection, statement, given)]


def _of_postgresql(connection: Connection, statement: str, given: Any) -> Iterator[str]:  # noqa: ANN401 - as recorded
    parameters = given[0] if isinstance(given, list) else given
    explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    plan = explained if isinstance(explained, list) else json.loads(explained)
    for node in _nodes(plan[0]["Plan"]):
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in {"items", "results"}:
            yield f"scans {node['Relation Name']}: {statement}"
        if node["Node Type"] == "Sort" and node["Plan Rows"] > MOST_SORTED:
            yield f"sorts {node['Plan Rows']} rows: {statement}"


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _of_sqlite(connection: Connection, statement: str, given: Any) -> Iterator[str]:  # noqa: ANN401 - as recorded
    parameters = given[0] if isinstance(given, list) else given
    for *_, detail in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
        words = detail.split()
        if words[0] == "SCAN" and words[1] in {"items", "results", "jobs"} and "USING" not in words:
            yield f"{detail}: {statement}"
        if detail == "USE TEMP B-TREE FOR ORDER BY" and "tenant_shares" not in statement:  # that sorts the open jobs
            yield f"sorts: {statement}"


@contextmanager
def planned(database: Database) -> Iterator[Plans]:
    plans = Plans()
    event.listen(database.engine, "before_cursor_execute", plans.record)
    yield plans
    event.remove(database.engine, "before_cursor_execute", plans.record)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def grown_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "postgresql":
        with copy_of(request.getfixturevalue("migrated_postgresql")) as url:
            yield url
        return
    file = tmp_path_factory.mktemp("grown") / "padserve.db"
    shutil.copy(request.getfixturevalue("migrated_sqlite_file"), file)
    yield f"sqlite:///{file}"


@pytest.fixture(scope="module")
def grown(grown_url: str) -> Iterator[Database]:
    """Many jobs that ended long ago, with all their items, and two that are under way; tests leave it as it is."""
    database = Database(grown_url)
    template = a_job(database, [preference("formal")])
    a_job(database, [preference("formal"), preference("playful")] * 10)
    with database.transaction() as session:
        _multiply(session, template)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    yield database
    database.dispose()


def _multiply(session: Session, template: uuid.UUID) -> None:
    """Ended copies of a job and its item, written by the database itself."""
    columns = [column.name for column in Item.__table__.columns if column.name != "id"]
    changed = {"job_id": ":job", "position": "n", "custom_id": "n", "state": "'succeeded'", "finished_at": ":moment"}
    chosen = ", ".join(changed.get(name, f"items.{name}") for name in columns)
    copied = text(
        f"WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ITEMS_PER_JOB - 1}) "  # noqa: S608
        f"INSERT INTO items ({', '.join(columns)}) SELECT {chosen} FROM items, numbers WHERE items.job_id = :template"
    )
    original = session.get_one(Job, template)
    for number in range(NUM_FINISHED_JOBS):
        job = Job(
            tenant_id=original.tenant_id,
            state=JobState.COMPLETED,
            model=original.model,
            model_digest=DIGEST,
            details={},
            name=f"job {number}",
            num_items=ITEMS_PER_JOB,
            num_succeeded=ITEMS_PER_JOB,
            created_at=original.created_at,
            finished_at=original.created_at,
        )
        session.add(job)
        session.flush()
        table = Item.__table__.columns
        bound = {"job": table.job_id.type, "template": table.job_id.type, "moment": table.finished_at.type}
        session.execute(
            copied.bindparams(*(bindparam(name, type_=kind) for name, kind in bound.items())),
            {"job": job.id, "template": template, "moment": original.created_at},
        )
    written = "a text of some length " * 20
    session.execute(
        text("INSERT INTO results (item_id, text) SELECT id, :written FROM items WHERE state = 'succeeded'"),
        {"written": written},
    )


def a_claim(session: Session, positions: Positions | None = None) -> list[claims.ClaimedItem]:
    return claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=5, lease_seconds=60, positions=positions)


def tenant_and_job(session: Session) -> tuple[uuid.UUID, uuid.UUID]:
    """Of the newest job, one of those that ended."""
    row = session.execute(select(Job.tenant_id, Job.id).order_by(Job.id.desc()).limit(1)).one()
    return row.tenant_id, row.id


def status(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> None:
    jobs.find_job(session, tenant_id=tenant_id, job_id=job_id)
    jobs.list_jobs(session, tenant_id=tenant_id, limit=100)
    jobs.list_jobs(session, tenant_id=tenant_id, limit=100, after=job_id, state=JobState.QUEUED)
    jobs.list_jobs(session, tenant_id=tenant_id, limit=100, after=job_id, name="job 7")


def page_of_results(session: Session, _tenant_id: uuid.UUID, job_id: uuid.UUID) -> None:
    deep = range(ITEMS_PER_JOB - 100, ITEMS_PER_JOB)
    assert len(results.read_results(session, job_id=job_id, positions=deep)) == 100


def claiming(session: Session, *_: uuid.UUID) -> None:
    positions = Positions()
    assert [len(a_claim(session, positions)) for _ in range(2)] == [5, 5]


def sweep(session: Session, *_: uuid.UUID) -> None:
    losses.expire(session)
    audit.differing(session, [*audit.unbalanced_jobs(session), *audit.next_jobs(session, after=None)])
    cancelling.winding_up(session)
    list(claims.claimable_jobs(session, model_digest=DIGEST))


def saving(session: Session, *_: uuid.UUID) -> None:
    items = a_claim(session)
    outcomes = [Outcome(item.item_id, item.attempt, text="text", finish_reason="stop") for item in items[:2]]
    claims.save(session, owner=OWNER, outcomes=outcomes)
    claims.release(session, owner=OWNER, attempts=[item.attempt_key for item in items[2:]])
    losses.record_deaths(session, owner=OWNER, attempts=[Attempt(items[0].item_id, 1)])


def ending(session: Session, *_: uuid.UUID) -> None:
    (open_job, *_rest) = [job.id for job in claims.claimable_jobs(session, model_digest=DIGEST)]
    cancelling.cancel(session, open_job)
    cancelling.follow(session, open_job)


Act = Callable[[Session, uuid.UUID, uuid.UUID], None]


def problems_of(grown: Database, act: Act) -> list[str]:
    """What the plans of its statements scan or sort; there is at least one statement."""
    with grown.transaction() as session:
        tenant_id, job_id = tenant_and_job(session)
        with planned(grown) as plans:
            act(session, tenant_id, job_id)
        problems = plans.problems(session.connection())
        session.rollback()
    assert plans.statements
    return problems


@pytest.mark.parametrize("act", [status, page_of_results, claiming, sweep], ids=lambda act: act.__name__)
def test_nothing_is_scanned_and_nothing_sorted(grown: Database, act: Act) -> None:
    assert problems_of(grown, act) == []


@pytest.mark.parametrize("act", [saving, ending], ids=lambda act: act.__name__)
def test_nothing_is_scanned_where_rows_are_locked_in_order(grown: Database, act: Act) -> None:
    assert [problem for problem in problems_of(grown, act) if not problem.startswith("sorts:")] == []


def test_a_status_is_one_statement_and_a_list_too(grown: Database) -> None:
    with grown.reading() as session:
        tenant_id, job_id = tenant_and_job(session)
        with planned(grown) as plans:
            jobs.find_job(session, tenant_id=tenant_id, job_id=job_id)
            jobs.list_jobs(session, tenant_id=tenant_id, limit=100)

    assert len(plans.statements) == 2


def test_a_claim_reads_the_queue_in_order_when_statistics_know_nothing_of_the_job_yet(
    postgresql_database: Database,
) -> None:
    fill(postgresql_database, 20_000)
    a_job(postgresql_database, [preference("formal")] * 6000)
    positions = Positions()
    for _ in range(8):
        with postgresql_database.transaction() as session:
            claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=100, lease_seconds=60, positions=positions)
    nodes: list[Mapping[str, Any]] = []

    def explain(connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401 - SQLAlchemy's
        if statement.startswith("WITH locked"):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            row: Any = cursor.fetchone()
            nodes.extend(_nodes(row[0][0]["Plan"]))

    event.listen(postgresql_database.engine, "before_cursor_execute", explain)
    with postgresql_database.transaction() as session:
        assert len(a_claim(session, positions)) == 5

    assert {node["Index Name"] for node in nodes if "Index Name" in node} == {"ix_items_stretches", "pk_items"}
    assert [node["Node Type"] for node in nodes if "Sort" in node["Node Type"]] == []


def test_a_save_plans_once_how_the_items_of_its_results_are_looked_for_and_all_else_anew(
    postgresql_database: Database,
) -> None:
    a_job(postgresql_database, [preference("formal")] * 5)
    seen = "current_setting('plan_cache_mode') || ', ' || current_setting('enable_seqscan')"
    with postgresql_database.transaction() as session:
        session.execute(text("CREATE TABLE seen (settings text)"))
        session.execute(
            text(
                "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN INSERT INTO seen SELECT {seen}; RETURN NULL; END $$"
            )
        )
        for table in ("items", "results"):
            session.execute(text(f"CREATE TRIGGER look AFTER INSERT OR UPDATE ON {table} EXECUTE FUNCTION look()"))
    with postgresql_database.transaction() as session:
        items = a_claim(session)

    with postgresql_database.transaction() as session:
        claims.save(session, owner=OWNER, outcomes=[Outcome(item.item_id, item.attempt, text="tea") for item in items])
        afterwards = session.scalars(text(f"SELECT {seen}")).one()

    with postgresql_database.reading() as session:
        claimed, ended, written = session.scalars(text("SELECT settings FROM seen"))
    assert claimed == ended == afterwards == "force_custom_plan, on"
    assert written == "auto, off"
