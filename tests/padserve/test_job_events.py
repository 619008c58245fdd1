"""A job as server-sent events: told as it moves, resumed where it broke, ended with it, cheap for hundreds."""

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError
from starlette.requests import ClientDisconnect

from api.jobs import events as job_events
from api.streams import listening
from db.models import ApiKey
from db.queries import cancelling, deleting, jobs, keys
from db.session import Database
from padserve.client.async_client import AsyncClient
from padserve.errors import NotFoundError
from tests.builders import a_job, preference, wind_up
from tests.padserve.running_api import Server, running_api

Event = dict[str, Any]
HEARTBEAT = {"comment": "still here"}


@contextlib.contextmanager
def following(server: Server, job_id: uuid.UUID, last_id: str | None = None) -> Iterator[Iterator[Event]]:
    """The events of a job as they arrive, as the HTML standard reads them."""
    headers = {"Authorization": f"Bearer {server.api_key}", **({} if last_id is None else {"Last-Event-ID": last_id})}
    with (
        httpx.Client(base_url=server.url, timeout=20) as client,
        client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield parsed(response.iter_lines())


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    fields: Event = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name or "comment"] = json.loads(value) if name == "data" else value
        elif fields:
            yield fields
            fields = {}


def cancel(database: Database, job_id: uuid.UUID) -> None:
    with database.transaction() as session:
        assert cancelling.cancel(session, job_id)
    wind_up(database, job_id)


@pytest.fixture
def job_id(server: Server) -> uuid.UUID:
    return a_job(server.database, [preference("formal")] * 3)


@pytest.fixture
def questions(server: Server) -> Iterator[list[str]]:
    """What the database has been asked."""
    asked: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(server.database.engine, "before_cursor_execute", note)
    yield asked
    event.remove(server.database.engine, "before_cursor_execute", note)


def test_a_job_is_told_as_it_moves_until_it_has_ended(server: Server, job_id: uuid.UUID) -> None:
    with following(server, job_id) as events:
        assert next(events) == {"retry": "2000"}
        first = next(events)
        server.decode(1)
        second = next(events)
        server.decode(2)
        *_, last = events  # and the stream ends

    assert (first["event"], first["data"]["counts"]["succeeded"]) == ("status", 0)
    assert (second["event"], second["data"]["counts"]["succeeded"]) == ("status", 1)
    assert (last["event"], last["data"]["state"], last["data"]["counts"]["succeeded"]) == ("end", "completed", 3)
    assert len({first["id"], second["id"], last["id"]}) == 3


@pytest.mark.parametrize("ends", [cancel])
def test_the_last_event_says_how_the_job_ended(
    server: Server, job_id: uuid.UUID, ends: Callable[[Database, uuid.UUID], None]
) -> None:
    ends(server.database, job_id)

    with following(server, job_id) as events:
        _, only = events

    assert (only["event"], only["data"]["state"]) == ("end", "cancelled")


def test_who_comes_back_is_told_what_differs_from_the_last_they_read(server: Server, job_id: uuid.UUID) -> None:
    with following(server, job_id) as events:
        next(events)
        first = next(events)
    with following(server, job_id, first["id"]) as events:
        assert [next(events), next(events)] == [{"retry": "2000"}, HEARTBEAT]
        server.decode(1)
        assert next(events)["data"]["counts"]["succeeded"] == 1
    server.decode(1)

    with following(server, job_id, first["id"]) as events:
        next(events)
        assert next(events)["data"]["counts"]["succeeded"] == 2


def test_who_comes_back_after_the_end_is_told_it_again_or_sent_away_for_good(server: Server, job_id: uuid.UUID) -> None:
    cancel(server.database, job_id)

    with following(server, job_id, "an older one") as events:
        _, last = events
    headers = {"Authorization": f"Bearer {server.api_key}", "Last-Event-ID": last["id"]}
    answer = httpx.get(f"{server.url}/v1/jobs/{job_id}/events", headers=headers)

    assert (last["event"], answer.status_code, answer.content) == ("end", 204, b"")


def test_a_head_is_all_that_head_asks_for(server: Server, job_id: uuid.UUID) -> None:
    answer = httpx.head(
        f"{server.url}/v1/jobs/{job_id}/events", headers={"Authorization": f"Bearer {server.api_key}"}, timeout=5
    )

    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")


def test_silence_is_filled_with_heartbeats(server: Server, job_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "HEARTBEAT_SECONDS", 0.05)

    with following(server, job_id) as events:
        next(events), next(events)

        assert [next(events) for _ in range(3)] == [HEARTBEAT] * 3


def test_hundreds_of_listeners_are_one_look_at_the_database(
    server: Server, job_id: uuid.UUID, questions: list[str]
) -> None:
    other = a_job(server.database, [preference("brief")])

    async def listen() -> list[str]:
        async with httpx.AsyncClient(
            base_url=server.url,
            headers={"Authorization": f"Bearer {server.api_key}"},
            limits=httpx.Limits(max_connections=None),
            timeout=60,
        ) as client:
            responses = [
                await client.send(client.build_request("GET", f"/v1/jobs/{each}/events"), stream=True)
                for each in (job_id, other) * 100
            ]
            await asyncio.to_thread(questions.clear)
            began = time.monotonic()
            await asyncio.sleep(2)
            seconds, asked = time.monotonic() - began, list(questions)
            await asyncio.to_thread(server.decode, 4)
            bodies = [await response.aread() for response in responses]
        assert all(b"event: end" in body for body in bodies)
        assert len(asked) <= 4 * (seconds / listening.LOOK_SECONDS + 2)
        return asked

    asked = asyncio.run(listen())

    assert asked  # somebody looked
    time.sleep(3 * listening.LOOK_SECONDS)  # a look that was under way
    questions.clear()
    time.sleep(2 * listening.LOOK_SECONDS)
    assert questions == []  # and nobody does any more


def test_a_deleted_job_closes_the_stream(server: Server, job_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LOOK_SECONDS", 0.2)
    with following(server, job_id) as events:
        next(events), next(events)
        with server.database.transaction() as session:
            cancelling.cancel(session, job_id)
            assert deleting.delete_job(session, job_id)
        *_, last = events

    assert (last["event"], last["data"]["code"]) == ("closed", "not_found")
    assert "id" not in last


def test_a_revoked_key_closes_the_stream(server: Server, job_id: uuid.UUID) -> None:
    with following(server, job_id) as events:
        next(events), next(events)
        with server.database.transaction() as session:
            assert keys.revoke_key(session, session.scalars(update(ApiKey).values(name="x").returning(ApiKey.id)).one())
        *_, last = events

    assert (last["event"], last["data"]["code"]) == ("closed", "invalid_api_key")


def test_a_stream_goes_on_after_the_database_was_away(
    server: Server, job_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = jobs.find_jobs
    failures = iter([OperationalError("", None, Exception())] * 2)
    has_failed = threading.Event()

    def find(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as it is called
        for failure in failures:
            has_failed.set()
            raise failure
        return look(*args, **kwargs)

    with following(server, job_id) as events:
        next(events), next(events)
        monkeypatch.setattr(jobs, "find_jobs", find)
        assert has_failed.wait(20)
        server.decode(1)

        assert next(events)["data"]["counts"]["succeeded"] == 1


def test_a_reader_that_reads_nothing_is_let_go(
    server: Server, job_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        listeners = listening.Listeners(server.database, _Publisher())  # type: ignore[arg-type] # as much as is asked
        named = (_tenant_of(server, job_id), job_id)
        first = listening.JobEvent(listening.EventName.STATUS, "an id", b"{}")
        stream = job_events.EventStream(listeners, named, uuid.uuid4(), first, None)

        async def receive() -> Any:  # noqa: ANN401 - ASGI's
            await asyncio.Event().wait()

        async def send(_message: object) -> None:
            await asyncio.Event().wait()

        with pytest.raises(ClientDisconnect):
            await asyncio.wait_for(stream({"type": "http"}, receive, send), 20)

    monkeypatch.setattr(job_events, "SEND_SECONDS", 0.05)
    asyncio.run(scenario())


class _Publisher:
    is_failing = False


def _tenant_of(server: Server, job_id: uuid.UUID) -> uuid.UUID:
    with server.database.reading() as session:
        (record,) = jobs.find_jobs(session, [job_id])
    return record.tenant_id


def test_the_client_follows_a_job_to_its_end(server: Server, job_id: uuid.UUID) -> None:
    seen = []
    with server.client() as client:
        for job in client.events(str(job_id)):
            seen.append(job.counts.succeeded)
            if job.counts.queued:
                server.decode(1)

    assert (seen, job.state) == ([0, 1, 2, 3], "completed")


def test_the_asynchronous_client_does_so_too(server: Server, job_id: uuid.UUID) -> None:
    async def follow() -> list[str]:
        async with AsyncClient(server.url, server.api_key) as client:
            states = []
            async for job in client.events(str(job_id)):
                states.append(job.state)
                if not job.has_ended:
                    await asyncio.to_thread(cancel, server.database, job_id)
            return states

    assert asyncio.run(follow()) == ["queued", "cancelled"]


def test_a_job_that_is_not_there_is_an_error_of_the_client(server: Server) -> None:
    with server.client() as client, pytest.raises(NotFoundError):
        next(client.events(str(uuid.uuid4())))


def test_listeners_do_not_hold_up_the_end_of_the_server(sqlite_database: Database, redis_url: str) -> None:
    with contextlib.ExitStack() as stack:
        with running_api(sqlite_database, redis_url) as server:
            job_id = a_job(server.database)
            events = stack.enter_context(following(server, job_id))
            next(events), next(events)
            began = time.monotonic()

        assert list(events) == []  # it ended as a stream does, not as a connection that breaks
        assert time.monotonic() - began < 8
