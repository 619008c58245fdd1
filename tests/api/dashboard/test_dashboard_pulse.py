"""What wakes an open page: marks that change when what it shows does, and one look for all pages of a process."""

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping
from functools import partial

import pytest

from api.dashboard import pulse
from api.dashboard.pulse import Follower, Pulse
from api.http.dependencies import Scope
from db.queries import changes, dashboard_sessions, keys, workers
from db.queries.changes import Learning, Load, Mark, OneJob, OpenJobs, Serving, Subject, Visit
from domain.engine_load import EngineLoad
from domain.states import WorkerState
from tests.api.conftest import Api
from tests.api.dashboard.test_dashboard import end, submit

SOON = 5.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)


def marks(api: Api, *subjects: Subject) -> Mapping[Subject, Mark]:
    with api.database.reading() as session:
        return changes.marks_of(session, subjects)


def moved(api: Api, subjects: Collection[Subject], happen: Callable[[], object]) -> set[Subject]:
    """Which marks are others afterwards."""
    before = marks(api, *subjects)
    happen()
    after = marks(api, *subjects)
    return {each for each in subjects if before.get(each) != after.get(each)}


def test_every_move_of_a_job_changes_its_mark_and_its_tenants_and_nobody_elses(api: Api) -> None:
    client, tenant_id = api.client(), api.tenant_id()
    submit(api, tenant="other")
    other = uuid.UUID(submit(api, name="another"))
    item = {"custom_id": "letter", "user_id": "ada", "prompt": "Write."}

    def submit_another() -> str:
        return str(client.post("/v1/jobs", json={"items": [item]}).json()["id"])

    job_id = submit_another()
    mine: set[Subject] = {OneJob(uuid.UUID(job_id)), OpenJobs(tenant_id)}
    others: set[Subject] = {OneJob(other), OpenJobs(api.tenant_id("other"))}

    for action in ("pause", "resume", "cancel"):
        assert moved(api, mine | others, partial(client.post, f"/v1/jobs/{job_id}/{action}")) == mine
    ended = OneJob(uuid.UUID(job_id))
    assert moved(api, mine | others, lambda: client.delete(f"/v1/jobs/{job_id}")) == {ended}
    assert moved(api, mine | others, submit_another) == {OpenJobs(tenant_id)}


def test_texts_that_are_written_change_the_marks_of_their_jobs(api: Api) -> None:
    job_id = uuid.UUID(submit(api))

    assert moved(api, {OneJob(job_id)}, lambda: end(api.database, text="done")) == {OneJob(job_id)}
    assert moved(api, {OneJob(job_id)}, lambda: None) == set()


def test_the_load_of_a_worker_wakes_those_who_look_at_it_and_its_state_those_who_wait(api: Api) -> None:
    worker_id = api.serve()

    def report(state: WorkerState, load: EngineLoad) -> None:
        with api.database.transaction() as session:
            workers.report(session, worker_id=worker_id, state=state, load=load)

    report(WorkerState.READY, EngineLoad(8))
    both: set[Subject] = {Serving(), Load()}
    assert moved(api, both, lambda: report(WorkerState.READY, EngineLoad(8))) == set()  # a heartbeat
    assert moved(api, both, lambda: report(WorkerState.READY, EngineLoad(8, 3))) == {Load()}
    assert moved(api, both, lambda: report(WorkerState.FAILED, EngineLoad(8, 3))) == both


def test_what_is_learnt_of_a_user_changes_a_mark_of_theirs(api: Api) -> None:
    client, ada = api.client(), Learning(api.tenant_id(), "ada")
    client.put("/v1/profiles/ada", json={"principles": ["formal", "brief"], "learn": True})

    assert moved(api, {ada}, lambda: client.patch("/v1/profiles/ada", json={"tags": ["x"]})) == {ada}
    pair = {"prompt": "Write.", "chosen": "Dear Ada", "rejected": "Hi"}
    assert moved(api, {ada}, lambda: client.post("/v1/profiles/ada/feedback", json={"pairs": [pair]})) == {ada}


def test_a_visit_has_a_mark_until_its_key_is_revoked(api: Api) -> None:
    with api.database.transaction() as session:
        key = keys.caller_of(session, api.key(*Scope))
        assert key is not None
        visit = Visit(dashboard_sessions.begin(session, key.id))

    def revoke() -> None:
        with api.database.transaction() as session:
            keys.revoke_key(session, key.id)

    assert moved(api, {visit, Visit("unknown")}, revoke) == {visit}


class Marks:
    """A database that counts who looks at it."""

    def __init__(self) -> None:
        self.current: dict[Subject, Mark] = {}
        self.looks: list[Collection[Subject]] = []
        self.is_stopping = self.is_away = False

    def look(self, subjects: Collection[Subject]) -> dict[Subject, Mark]:
        self.looks.append(subjects)
        if self.is_away:
            raise ConnectionError
        return {each: self.current[each] for each in subjects if each in self.current}

    def pulse(self) -> Pulse:
        return Pulse(self.look, lambda: self.is_stopping)


def test_pages_share_a_look_and_only_those_are_woken_that_show_what_has_changed() -> None:
    seen = Marks()
    job, other = OneJob(uuid.UUID(int=1)), OneJob(uuid.UUID(int=2))

    async def check() -> None:
        beat = seen.pulse()
        with beat.following() as one, beat.following() as same, beat.following() as another:
            pages: list[tuple[Follower, set[Subject]]] = [(one, {job}), (same, {job, Serving()}), (another, {other})]
            assert all(await asyncio.gather(*(page.changed(subjects, SOON) for page, subjects in pages)))  # all is new
            waiting = [asyncio.create_task(page.changed(subjects, SOON)) for page, subjects in pages]
            await asyncio.sleep(0.05)
            num_looks = len(seen.looks)
            assert set(seen.looks[-1]) == {job, other, Serving()}
            assert not any(task.done() for task in waiting)
            seen.current[job] = "moved"
            assert await waiting[0]
            assert await waiting[1]
            assert not waiting[2].done()
            waiting[2].cancel()
            assert len(seen.looks) - num_looks < 50
        num_looks = len(seen.looks)
        await asyncio.sleep(0.05)
        assert len(seen.looks) <= num_looks + 1  # nobody looks for nobody

    asyncio.run(check())


def test_what_changes_between_a_pages_own_look_and_its_wait_reaches_it_though_another_page_has_seen_it() -> None:
    """A profile said for a minute that a fit was under way: its head, another stream, had been told of the end."""
    seen = Marks()
    seen.current = {Serving(): "before"}

    async def check() -> None:
        beat = seen.pulse()
        with beat.following() as head, beat.following() as page:
            await head.changed({Serving()}, SOON)
            read = seen.look({Serving()})
            seen.current[Serving()] = "after"
            assert await head.changed({Serving()}, SOON)

            assert await page.changed({Serving()}, SOON)
            assert read == {Serving(): "before"}
            assert not await page.changed({Serving()}, 0.05)

    asyncio.run(check())


def test_a_page_that_nothing_happens_to_waits_as_long_as_it_said() -> None:
    async def check() -> None:
        with Marks().pulse().following() as page:
            await page.changed({Serving()}, SOON)
            assert not await page.changed({Serving()}, 0.05)

    asyncio.run(check())


@pytest.mark.parametrize("what", ["database", "server"])
def test_every_page_is_woken_where_the_database_or_the_server_goes_away(what: str) -> None:
    seen = Marks()
    seen.current = {Serving(): "there"}

    async def woken(page: Follower) -> bool:
        await page.changed({Serving()}, SOON)
        waiting = asyncio.create_task(page.changed({Serving()}, SOON))
        await asyncio.sleep(0.03)
        assert not waiting.done()
        seen.is_stopping, seen.is_away = what == "server", what == "database"
        return await waiting

    async def check() -> None:
        with seen.pulse().following() as page:
            assert await woken(page)

    asyncio.run(check())
