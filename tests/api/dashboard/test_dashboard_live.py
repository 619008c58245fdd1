"""Parts of pages that move: streams of events, how many a session has, and how they end."""

import json
import uuid
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.dashboard import counting
from api.dashboard.live import MAX_STREAMS_PER_SESSION, Streams
from api.dashboard.pulse import Follower
from api.dashboard.rendering import EVENT_STREAM
from api.http.dependencies import Scope
from db.queries import job_pages, keys
from tests.api.conftest import Api
from tests.api.dashboard.test_dashboard import Visitor, end, submit

Told: TypeAlias = list[tuple[str, dict[str, str]]]
Follow: TypeAlias = Callable[..., Told]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Reads a stream to its end: between its looks one thing happens after the other, and then the server stops."""

    def read(visitor: Visitor, path: str, *happenings: Callable[[], object]) -> Told:
        app = visitor.client.app
        assert isinstance(app, FastAPI)
        steps = iter([*happenings, app.state.services.listeners.stop])

        async def changed(*_: object) -> bool:
            await run_in_threadpool(next(steps))
            return True

        monkeypatch.setattr(Follower, "changed", changed)
        answer = visitor.client.get(path, headers={"Accept": EVENT_STREAM})
        assert answer.headers["content-type"].startswith(EVENT_STREAM)
        events = [event.splitlines() for event in answer.text.split("\n\n") if event]
        named = [(name.removeprefix("event: "), data.removeprefix("data:").strip()) for name, data in events]
        return [(name, json.loads(data)) for name, data in named if data]

    return read


def revoke(api: Api, key: str) -> None:
    with api.database.transaction() as session:
        caller = keys.caller_of(session, key)
        assert caller is not None
        keys.revoke_key(session, caller.id)


def test_a_stream_tells_what_has_changed_since_it_was_seen_and_nothing_twice(api: Api, follow: Follow) -> None:
    visitor = Visitor(api, api.key(*Scope))
    job_id = submit(api, num_items=2)
    seen = visitor.client.get(f"/live/jobs/{job_id}").headers["x-part-version"]

    told = follow(visitor, f"/live/jobs/{job_id}?seen={seen}", lambda: None, lambda: end(api.database, text="done"))

    ((name, part),) = told
    assert name == "part"
    assert "completed" in part["html"]
    assert "\n" in part["html"]  # which ends a line of an event
    assert part["version"] == visitor.client.get(f"/live/jobs/{job_id}").headers["x-part-version"]


def test_a_job_that_has_ended_shows_what_ended_however_lately_its_chart_was_counted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.dashboard.counting.COUNT_SHARE", 1e-9)  # counted anew in years
    visitor = Visitor(api, api.key(*Scope))
    job_id = submit(api, num_items=2)
    assert "Nothing has ended yet" in visitor.client.get(f"/live/jobs/{job_id}").text

    end(api.database, text="done")

    assert "2 of 2 items ended" in visitor.client.get(f"/live/jobs/{job_id}").text


def test_a_large_job_is_counted_further_by_each_look_and_a_part_that_has_ended_never_again(
    api: Api, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "PART", 2)
    monkeypatch.setattr(counting, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(counting, "COUNT_SHARE", 1e9)  # whenever it is looked at
    counted: list[range] = []
    of_part = job_pages.ends_over_time

    def count(session: Session, job_id: uuid.UUID, positions: range, **options: Any) -> job_pages.Ends:  # noqa: ANN401 - as it is called
        counted.append(positions)
        return of_part(session, job_id, positions, **options)

    monkeypatch.setattr(job_pages, "ends_over_time", count)
    visitor = Visitor(api, api.key(*Scope))
    job_id = submit(api, num_items=3)
    end(api.database, text="done", limit=2)

    first = visitor.client.get(f"/live/jobs/{job_id}").text
    told = follow(visitor, f"/live/jobs/{job_id}", lambda: None, lambda: end(api.database, text="done"))

    assert "Counted so far: 50 %" in first
    assert "3 of 3 items ended" in told[-1][1]["html"]
    assert "Counted so far" not in told[-1][1]["html"]
    assert counted == [range(2), range(2, 3), range(2, 3)]


def test_a_stream_ends_where_the_key_is_revoked_before_anything_more_is_told(api: Api, follow: Follow) -> None:
    key = api.key(*Scope)
    visitor = Visitor(api, key)
    submit(api)

    def happen() -> None:
        revoke(api, key)
        end(api.database, text="a secret text")

    told = follow(visitor, "/live/jobs", happen)

    assert [name for name, _ in told] == ["part", "gone"]
    assert told[-1][1] == {"path": "/sign-in"}


def test_a_stream_that_cannot_begin_is_no_page_which_the_script_asks_for_itself(api: Api) -> None:
    """An `EventSource` cannot read a page to sign in, and complained of its type where a key had just been revoked."""
    key = api.key(*Scope)
    client = Visitor(api, key).client
    stream, part = {"Accept": EVENT_STREAM}, {"HX-Request": "true"}

    malformed = [client.get("/live/jobs?after=nobody&seen=1&page=-1", headers=headers) for headers in (stream, part)]
    revoke(api, key)
    without_key = [client.get("/live/jobs", headers=headers) for headers in (stream, part)]

    assert [(each[0].status_code, each[0].content) for each in (malformed, without_key)] == [(204, b"")] * 2
    assert malformed[1].status_code == 422
    assert without_key[1].headers["hx-redirect"] == "/sign-in"


def test_a_stream_of_a_job_that_is_deleted_leads_to_the_jobs(api: Api, follow: Follow) -> None:
    visitor = Visitor(api, api.key(*Scope))
    job_id = submit(api)
    end(api.database, text="done")

    told = follow(visitor, f"/live/jobs/{job_id}", lambda: api.client().delete(f"/v1/jobs/{job_id}"))

    assert told[-1] == ("gone", {"path": "/"})


def test_a_session_has_a_few_streams_and_gives_each_back(api: Api, follow: Follow) -> None:
    visitor = Visitor(api, api.key(*Scope))
    app = visitor.client.app
    assert isinstance(app, FastAPI)
    streams: Streams = app.state.dashboard_streams
    csrf = visitor.csrf
    while streams.take(csrf):
        pass

    refused = visitor.client.get("/live/models", headers={"Accept": EVENT_STREAM})
    streams.give_back(csrf)
    follow(visitor, "/live/models")

    assert refused.status_code == 204
    assert [streams.take(csrf), streams.take(csrf)] == [True, False]
    assert [streams.take("another") for _ in range(MAX_STREAMS_PER_SESSION)] == [True] * MAX_STREAMS_PER_SESSION
