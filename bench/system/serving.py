"""What the API does meanwhile: accepting, being polled, exporting."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx
import psutil

from bench.system.databases import Databases, add_job, fill, opened
from bench.system.site import LOOK_SECONDS, Site, a_body, a_site, wait_until
from bench.system.table import Measured, percentile
from tests.system.processes import KEY

NUM_CLIENTS = 200
WATCH_SECONDS = 4.0
COUNT_SECONDS = 0.5
NUM_LOOKS = 300
MEBIBYTE = 2**20
NUM_SMALL_JOBS = 25
PAUSES = (0.0, 0.5)


def acceptance(databases: Databases, kind: str, *, num_items: int, num_runs: int) -> Iterator[Measured]:
    """One large job, with status polls and small submissions beside it."""
    seconds, growth, polls, small = [], [], _Times(), _Times()
    with databases.fresh(kind) as url, a_site(url) as site:
        body, known = a_body(num_items), site.submit(1)
        api = psutil.Process(site.stack.process("api").pid)
        for _ in range(num_runs):
            before = api.memory_info().rss
            with _meanwhile(site, known, polls, small):
                began = time.perf_counter()
                job_id = site.send(body)
                seconds.append(time.perf_counter() - began)
            growth.append((api.memory_info().rss - before) / MEBIBYTE)
            site.wait_for(job_id)
    case = f"{kind}, NDJSON of {num_items:,} items"
    yield Measured("acceptance", case, "seconds", tuple(seconds), "s")
    yield Measured("acceptance", case, "growth of the API's memory", tuple(growth), "MiB")
    yield from polls.measured("acceptance", case, "status meanwhile")
    yield from small.measured("acceptance", case, "small submission meanwhile")


@dataclass
class _Times:
    seconds: list[float] = field(default_factory=list)

    def measured(self, scene: str, case: str, what: str) -> Iterator[Measured]:
        for share in (0.5, 0.99):
            milliseconds = 1e3 * percentile(self.seconds, share)
            yield Measured(
                scene, f"{case}, {len(self.seconds)} asked", f"{what}, p{100 * share:.0f}", (milliseconds,), "ms"
            )


@contextmanager
def _meanwhile(site: Site, known: str, polls: _Times, small: _Times) -> Iterator[None]:
    """Poll a job's status, and submit jobs of one item, each about ten times a second."""
    over = threading.Event()

    def poll(client: httpx.Client) -> None:
        client.get(f"/v1/jobs/{known}").raise_for_status()

    def submit(client: httpx.Client) -> None:
        client.post("/v1/jobs", content=a_body(1), headers={"Content-Type": "application/x-ndjson"}).raise_for_status()

    def repeat(act: object, times: _Times) -> None:
        with site.stack.client as client:
            while True:  # once at least, however soon it is over
                began = time.perf_counter()
                act(client)  # type: ignore[operator] # poll or submit
                times.seconds.append(time.perf_counter() - began)
                if over.wait(LOOK_SECONDS):
                    return

    threads = [threading.Thread(target=repeat, args=pair) for pair in ((poll, polls), (submit, small))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def latency(databases: Databases, kind: str) -> Iterator[Measured]:
    """Jobs of one item, each submitted when the last one has ended or a while later."""
    with databases.fresh(kind) as url, a_site(url) as site:
        for pause in PAUSES:
            times = _Times()
            for _ in range(NUM_SMALL_JOBS):
                began = time.perf_counter()
                job_id = site.submit(1)
                wait_until(partial(site.has_ended, job_id), 60, "it has ended", look_seconds=0.01)
                times.seconds.append(time.perf_counter() - began)
                time.sleep(pause)
            yield from times.measured("latency", f"{kind}, one item, {pause} s after the last", "submission to result")


def polling(databases: Databases, kind: str, *, num_items: int) -> Iterator[Measured]:
    """Many clients that ask for a running job once a second; the job's rate without and with them."""
    with databases.fresh(kind) as url, a_site(url, num_slots=64) as site:
        job_id = site.submit(num_items)
        time.sleep(WATCH_SECONDS / 4)
        alone = _rate(site, job_id)
        times = _Times()
        clients = threading.Thread(target=lambda: asyncio.run(_ask(site.stack.api_port, job_id, times)))
        clients.start()
        time.sleep(WATCH_SECONDS / 8)
        beside = _rate(site, job_id)
        clients.join()
        still_running = site.job(job_id)["finished_at"] is None
    case = f"{kind}, {NUM_CLIENTS} clients, a job of {num_items:,} items{'' if still_running else ' (which ended)'}"
    yield Measured("polling", case, "job without them", (alone,), "items/s")
    yield Measured("polling", case, "job with them", (beside,), "items/s")
    yield from times.measured("polling", case, "status")


def _rate(site: Site, job_id: str) -> float:
    """Items per second, watched until the job ends at the latest."""
    before, began = site.job(job_id)["counts"]["succeeded"], time.perf_counter()
    while True:
        time.sleep(COUNT_SECONDS)
        job, seconds = site.job(job_id), time.perf_counter() - began
        if seconds >= WATCH_SECONDS or job["finished_at"] is not None:
            return float((job["counts"]["succeeded"] - before) / seconds)


async def _ask(port: int, job_id: str, times: _Times) -> None:
    """Each client on its own connection, at its own part of the second, as long as the rate is being watched.

    Without an HTTP library: two hundred connections in one of its pools take more processor than the API.
    """
    until = time.perf_counter() + 1.25 * WATCH_SECONDS
    request = f"GET /v1/jobs/{job_id} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(number / NUM_CLIENTS)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            took = time.perf_counter() - began
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            times.seconds.append(took)
            await asyncio.sleep(max(1 - took, 0))
        writer.close()

    await asyncio.gather(*map(ask, range(NUM_CLIENTS)))


def reading(databases: Databases, kind: str, *, num_items: int, num_filled: int, num_runs: int) -> Iterator[Measured]:
    """Status by the size of the table, and the export of an ended job."""
    for filled in (0, num_filled):
        with databases.fresh(kind) as url, opened(url) as database, a_site(url, num_workers=0) as site:
            fill(database, filled)
            job_id = str(add_job(database, 2000))
            times = _Times()
            for _ in range(NUM_LOOKS):
                began = time.perf_counter()
                site.job(job_id)
                times.seconds.append(time.perf_counter() - began)
            yield from times.measured("reading", f"{kind}, {filled + 2000:,} items in the table", "status")
    with databases.fresh(kind) as url, opened(url) as database, a_site(url, num_workers=0) as site:
        fill(database, num_items)
        ended = site.client.get("/v1/jobs?state=completed").json()["data"][0]["id"]
        rates = tuple(_export(site, ended, num_items) for _ in range(num_runs))
    yield Measured("reading", f"{kind}, {num_items:,} results as NDJSON", "export", rates, "rows/s")


def _export(site: Site, job_id: str, num_rows: int) -> float:
    began = time.perf_counter()
    with site.client.stream("GET", f"/v1/jobs/{job_id}/results", headers={"Accept": "application/x-ndjson"}) as answer:
        answer.raise_for_status()
        num_lines = sum(chunk.count(b"\n") for chunk in answer.iter_bytes())
    if num_lines != num_rows:
        raise RuntimeError(f"{num_lines} rows came of {num_rows}.")
    return num_rows / (time.perf_counter() - began)
