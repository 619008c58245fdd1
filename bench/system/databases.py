"""Fresh databases to measure on, and what they are filled with."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import URL, bindparam, text

from db import schema
from db.base import new_id
from db.batches import batches
from db.models import Item, Job
from db.queries import items, jobs
from db.queries.items import ITEMS_PER_STRETCH, NewItem
from db.queries.keys import create_key, create_tenant
from db.session import Database, now
from domain.states import JobState
from tests.builders import DIGEST, MODEL
from tests.servers import administer, copy_of, postgresql_server
from tests.system.processes import KEY

KINDS = ("postgresql", "sqlite")
TENANT = "default"
NUM_GROUPS = 50
ITEMS_PER_FINISHED_JOB = 100_000
MESSAGES = '[{"role":"user","content":"Write two sentences about the autumn sale."}]'
SAMPLING = '{"seed":0,"k":10,"temperature":0.0,"max_tokens":64}'
TEXT = "Our autumn sale begins on Friday. Come and see what is new, and take something home for less."
_TEMPLATE = "padserve_bench"


class Databases:
    """Makes migrated databases that hold one tenant and its key."""

    def __init__(self, stack: ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="padserve-bench-")))
        self._stack = stack
        self._server: URL | None = None

    @contextmanager
    def fresh(self, kind: str) -> Iterator[str]:
        """The URL of a new one; it is dropped with the block."""
        if kind == "postgresql":
            with copy_of(self._postgresql()) as url:
                yield url
            return
        template = self._folder / "template.db"
        if not template.exists():
            _prepare(f"sqlite:///{template}")
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        shutil.copy(template, folder / "padserve.db")
        try:
            yield f"sqlite:///{folder / 'padserve.db'}"
        finally:
            shutil.rmtree(folder)

    def _postgresql(self) -> URL:
        """The template; its server is started when it is first asked for."""
        if self._server is None:
            server = self._stack.enter_context(postgresql_server())
            administer(server, "ALTER SYSTEM RESET synchronous_commit")  # a commit that is answered has been written
            administer(server, "SELECT pg_reload_conf()")
            administer(server, f"CREATE DATABASE {_TEMPLATE}")
            self._server = server.set(database=_TEMPLATE)
            _prepare(self._server.render_as_string(hide_password=False))
        return self._server


def _prepare(url: str) -> None:
    database = Database(url)
    schema.upgrade(database)
    with database.transaction() as session:
        create_key(session, create_tenant(session, TENANT).id, "bench", ["admin"], secret=KEY)
    database.dispose()


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A database that is closed with the block."""
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


def add_job(database: Database, num_items: int) -> uuid.UUID:
    """A job of queued items in NUM_GROUPS groups, whose neighbours are of different ones."""
    hashes = [f"{group:064x}" for group in range(NUM_GROUPS)]
    with database.transaction() as session:
        tenant_id = create_tenant(session, TENANT).id
        job_id = jobs.insert_job(
            session, tenant_id=tenant_id, model=MODEL, model_digest=DIGEST, metadata={}, num_items=num_items
        )
        rows = (
            NewItem(place, f"item-{place}", "ada", 1, hashes[place % NUM_GROUPS], MESSAGES, SAMPLING)
            for place in range(num_items)
        )
        for batch in batches(rows, 5000):
            items.insert_items(session, job_id=job_id, model=MODEL, model_digest=DIGEST, items=batch)
        body = {"method": "contrast", "strength": 1.0, "principles": [], "max_kl": None, "examples": []}
        items.store_preferences(session, tenant_id=tenant_id, bodies=dict.fromkeys(hashes, body))
    return job_id


def fill(database: Database, num_items: int) -> None:
    """Items that ended long ago, with their results, written by the database itself."""
    for first in range(0, num_items, ITEMS_PER_FINISHED_JOB):
        _add_finished_job(database, min(ITEMS_PER_FINISHED_JOB, num_items - first))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()


def _add_finished_job(database: Database, num_items: int) -> None:
    columns = {
        "job_id": ":job",
        "position": "n",
        "stretch": f"n / {ITEMS_PER_STRETCH}",
        "custom_id": "'item-' || n",
        "user_id": "'ada'",
        "profile_version": "1",
        "preference_hash": ":hash",
        "model": ":model",
        "model_digest": ":digest",
        "messages": f"'{MESSAGES}'".replace(":", r"\:"),
        "sampling": f"'{SAMPLING}'".replace(":", r"\:"),
        "state": "'succeeded'",
        "attempt": "1",
        "finished_at": ":moment",
    }
    added = text(
        f"WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {num_items - 1}) "  # noqa: S608 - ours
        f"INSERT INTO items ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM numbers"
    )
    table = Item.__table__.columns
    typed = [bindparam("job", type_=table.job_id.type), bindparam("moment", type_=table.finished_at.type)]
    results = text(
        "INSERT INTO results (item_id, text, finish_reason, num_prompt_tokens, num_completion_tokens) "
        "SELECT id, :text, 'stop', 60, 20 FROM items WHERE job_id = :job"
    )
    with database.transaction() as session:
        job = Job(
            id=new_id(),
            tenant_id=create_tenant(session, TENANT).id,
            state=JobState.COMPLETED,
            model=MODEL,
            model_digest=DIGEST,
            details={},
            num_items=num_items,
            num_succeeded=num_items,
            created_at=now(session),
            finished_at=now(session),
        )
        session.add(job)
        session.flush()
        given = {"job": job.id, "hash": "0" * 64, "model": MODEL, "digest": DIGEST, "moment": job.finished_at}
        session.execute(added.bindparams(*typed), given)
        session.execute(results.bindparams(typed[0]), {"job": job.id, "text": TEXT})
