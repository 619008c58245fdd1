"""Nothing that a client sends is in any log: of a whole run at `debug`, misfortunes included, of all processes."""

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.system.processes import ECHO_WORKER, KEY, Stack, a_forking_stack, wait_until

PROMPT, PROFILE, ATTRIBUTE = "whale-in-a-prompt", "whale-in-a-profile", "whale-in-an-attribute"
USER, HEADER, QUERY = "whale-in-a-name", "whale-in-a-header", "whale-in-a-query"
SECRETS = (PROMPT, PROFILE, ATTRIBUTE, USER, HEADER, QUERY, KEY, KEY.removeprefix("pad_system_"))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def stack(migrated_sqlite_file: Path, tmp_path: Path) -> Iterator[Stack]:
    file = shutil.copy(migrated_sqlite_file, tmp_path / "padserve.db")
    database = Database(f"sqlite:///{file}")
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    database.dispose()
    settings = {"log_level": "debug", "lease_seconds": 2, "reconcile_seconds": 0.2}
    with a_forking_stack(tmp_path, f"sqlite:///{file}", **settings) as stack:
        stack.start_redis()
        stack.start_api()
        stack.start("worker", [sys.executable, str(ECHO_WORKER)])
        wait_until(stack.is_ready, 60, "a worker is ready")
        yield stack


def results_are(folder: Path, name: str, becomes: str) -> None:
    """Rename the table: every save fails meanwhile, with the texts as its parameters."""
    with sqlite3.connect(folder / "padserve.db", timeout=30) as database:
        database.execute("PRAGMA legacy_alter_table = ON")
        database.execute(f"ALTER TABLE {name} RENAME TO {becomes}")


def submit(client: httpx.Client, *prompts: str, **more: object) -> httpx.Response:
    items = [{"custom_id": str(number), "user_id": USER, "prompt": prompt} for number, prompt in enumerate(prompts)]
    return client.post("/v1/jobs", json={"items": items, "metadata": {PROFILE: ATTRIBUTE}, **more})


def has_ended(client: httpx.Client, job_id: str) -> bool:
    return bool(client.get(f"/v1/jobs/{job_id}").json()["state"] == "completed")


def test_no_line_of_any_process_holds_a_secret_and_each_says_who_speaks_of_what(stack: Stack, tmp_path: Path) -> None:
    with stack.client as client:
        client.headers["X-Request-ID"] = TRACE
        profile = {"principles": [PROFILE], "attributes": {"name": ATTRIBUTE}}
        client.put(f"/v1/profiles/{USER}", json=profile).raise_for_status()
        results_are(tmp_path, "results", "results_aside")
        job_id = (
            submit(client, PROMPT, f"once:{tmp_path}/{PROMPT} kill", f"{PROMPT} fail").raise_for_status().json()["id"]
        )
        wait_until(lambda: "database_unavailable" in stack.log("worker"), 60, "a save has failed")
        stack.process("redis").kill()
        results_are(tmp_path, "results_aside", "results")
        wait_until(lambda: has_ended(client, job_id), 60, "the job has ended")
        wrong = [
            submit(client, PROMPT, **{PROFILE: PROMPT}),
            client.get("/v1/profiles", params={"tag": QUERY, QUERY: QUERY}),
            client.get(f"/{USER}?{QUERY}={QUERY}", headers={"Authorization": f"Bearer {HEADER}", "X-Secret": HEADER}),
            client.post("/v1/jobs", content=PROMPT.encode(), headers={"Content-Type": "text/csv; x=" + HEADER}),
        ]
        wait_until(lambda: "consumer:" in stack.log("worker").lower(), 60, "Celery has said that Redis is away")
    stack.stop()

    assert all(answer.is_client_error for answer in wrong)
    logs = {name: stack.log(name) for name in ("api", "worker", "redis")}
    assert [(name, secret) for name, log in logs.items() for secret in SECRETS if secret in log] == []
    spoken = [json.loads(line) for name in ("api", "worker") for line in logs[name].splitlines() if line[:1] == "{"]
    assert {"request", "job_stored", "items_failed", "attempts", "engine_lost"} <= {line["event"] for line in spoken}
    (stored,) = (line for line in spoken if line["event"] == "job_stored")
    assert (stored["job_id"], stored["request_id"]) == (job_id, TRACE)
    (failed,) = (line for line in spoken if line["event"] == "items_failed")
    assert failed["codes"] == {"non_finite_logits": 1}
    assert len({line["worker"] for line in spoken if line["event"] in {"serving", "engine_lost", "items_failed"}}) == 1
