"""`padserve doctor` and `/readyz` are of one opinion, and say it in one sentence."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from httpx2 import Response
from sqlalchemy import delete
from starlette.testclient import TestClient

from api.settings import Settings
from db.queries import workers
from db.registry_models import Worker
from db.session import Database
from domain.states import WorkerState
from tests.api.apps import create_app
from tests.builders import a_model
from tests.padserve.command_line import Run

NO_REDIS = "redis://127.0.0.1:1/0"


class Given(NamedTuple):
    """A stack, as its settings say."""

    database: Database
    monkeypatch: pytest.MonkeyPatch
    settings: dict[str, str]


def nothing(_: Given) -> None:
    """All is well."""


def redis_is_away(given: Given) -> None:
    given.settings["redis_url"] = NO_REDIS


def database_is_away(given: Given) -> None:
    given.settings["database_url"] = "postgresql://127.0.0.1:1/nothing"


def database_is_read_only(given: Given) -> None:
    given.settings["database_url"] = f"sqlite:///file:{given.database.url.database}?mode=ro&uri=true"


def schema_is_old(given: Given) -> None:
    with given.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")


def schema_is_new(given: Given) -> None:
    with given.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")


def no_worker(given: Given) -> None:
    with given.database.transaction() as session:
        session.execute(delete(Worker))


def worker_has_failed(given: Given) -> None:
    no_worker(given)
    worker_id = uuid.uuid4()
    with given.database.transaction() as session:
        workers.register(session, worker_id=worker_id, model="tiny")
        session.flush()
        workers.report(session, worker_id=worker_id, state=WorkerState.FAILED, message="No such model: x.")


def disk_is_full(given: Given) -> None:
    given.monkeypatch.setattr("db.write_probe.shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=0)))


@pytest.mark.parametrize(
    ("befalls", "reason"),
    [
        (nothing, None),
        (schema_is_new, None),
        (redis_is_away, "Redis does not answer."),
        (database_is_away, "The database does not answer."),
        (database_is_read_only, "The database cannot be written to: attempt to write a readonly database."),
        (disk_is_full, "The database cannot be written to: the disk is full."),
        (schema_is_old, "The schema is not current: run `python -m db upgrade`."),
        (no_worker, "No worker is running."),
        (worker_has_failed, "No such model: x."),
    ],
)
def test_both_say_the_same_and_the_doctor_ends_with_1_when_nothing_is_ready(
    offline: Run, given: Given, befalls: Callable[[Given], None], reason: str | None
) -> None:
    befalls(given)
    answer = asked(given)

    ended = offline("doctor", "--json")
    said = {finding["name"]: finding for finding in json.loads(ended.output)}

    assert (answer.status_code == 200, answer.json()["reason"]) == (reason is None, reason)
    assert said["ready"]["health"] == ("ok" if reason is None else "wrong")
    assert reason is None or (said["ready"]["detail"], ended.exit_code) == (reason, 1)


def test_where_a_server_answers_the_doctor_says_what_it_says(offline: Run, given: Given, tmp_path: Path) -> None:
    no_worker(given)
    answer = asked(given)
    given.monkeypatch.setenv("PADSERVE_URL", "http://127.0.0.1:1")
    given.monkeypatch.setenv("PADSERVE_DATABASE_URL", f"sqlite:///{tmp_path}/another.db")
    given.monkeypatch.setattr("padserve.stack.doctor.httpx.get", lambda *_, **__: answer)

    said = {finding["name"]: finding for finding in json.loads(offline("doctor", "--json").output)}

    assert said["ready"]["detail"] == answer.json()["reason"] == "No worker is running."


@pytest.fixture
def given(sqlite_database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Given:
    """A stack that is ready, and no look at the device."""
    a_model(sqlite_database)
    answer = SimpleNamespace(returncode=0, stdout="CPU")
    monkeypatch.setattr("padserve.stack.doctor.subprocess.run", lambda *_, **__: answer)
    url = sqlite_database.url.render_as_string()
    return Given(sqlite_database, monkeypatch, {"database_url": url, "redis_url": redis_url})


def asked(given: Given) -> Response:
    """What `/readyz` answers on these settings; they are the doctor's from now on."""
    for name, value in given.settings.items():
        given.monkeypatch.setenv(f"PADSERVE_{name.upper()}", value)
    return TestClient(create_app(Settings.model_validate(given.settings))).get("/readyz")
