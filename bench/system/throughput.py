"""Items per second through everything but a model, and through the naive design beside it."""

import datetime as dt
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from sqlalchemy import make_url

from bench.system import peer
from bench.system.databases import Databases, opened
from bench.system.site import MOST_SECONDS, PROMPT, Site, a_body, a_site, wait_until
from bench.system.table import Measured
from tests.system.processes import a_stack

SCENE = "throughput"
WARM_UP_ITEMS = 500


def whole_system(
    databases: Databases,
    kind: str,
    *,
    num_items: int,
    slots: Sequence[int],
    workers: Sequence[int],
    num_runs: int,
) -> Iterator[Measured]:
    """Each number of slots with one worker, then each number of workers at the first of these."""
    pairs = [(num_slots, 1) for num_slots in slots] + [(slots[0], number) for number in workers if number != 1]
    for num_slots, num_workers in pairs:
        with (
            databases.fresh(kind) as url,
            a_site(url, num_workers=num_workers, num_slots=num_slots) as site,
        ):
            site.wait_for(site.submit(WARM_UP_ITEMS))
            used = Processors(url, site)
            runs = [_one_job(site, num_items) for _ in range(num_runs)]
            costs = used.per_item(num_runs * num_items)
        case = f"{kind}, {num_slots} slots, {num_workers} worker{'s' if num_workers > 1 else ''}, {num_items:,} items"
        for measure, values in zip(
            ("from submission to last result", "from acceptance to last result"), zip(*runs, strict=True), strict=True
        ):
            yield Measured(SCENE, case, measure, values, "items/s")
        for who, microseconds in costs.items():
            yield Measured(SCENE, case, f"processor time of {who}, per item", (microseconds,), "us")


class Processors:
    """What each part of a site has used of the processors since this was made.

    It says more than the wall where others use them too. Of PostgreSQL the connections to this database are counted,
    and not what the server does for all (its log, its checkpoints); on SQLite it is in the others' time.
    """

    def __init__(self, database_url: str, site: Site) -> None:
        self._database = make_url(database_url).database or ""
        self._site = site
        self._before = self._used()

    def per_item(self, num_items: int) -> dict[str, float]:
        """Microseconds."""
        used = self._used().items()
        return {who: 1e6 * (seconds - self._before.get(who, 0.0)) / num_items for who, seconds in used}

    def _used(self) -> dict[str, float]:
        workers = [psutil.Process(each.pid) for each in self._site.workers]
        api = psutil.Process(self._site.stack.process("api").pid)
        parts = {
            "the API": [api],
            "what the API does aside": api.children(recursive=True),
            "the workers": workers,
            "the engines": [child for worker in workers for child in worker.children(recursive=True)],
        }
        if backends := [each for each in psutil.process_iter(["name", "cmdline"]) if self._is_backend(each)]:
            parts["PostgreSQL"] = backends
        return {who: sum(map(_seconds, processes)) for who, processes in parts.items()}

    def _is_backend(self, process: psutil.Process) -> bool:
        return process.info["name"] == "postgres" and self._database in " ".join(process.info["cmdline"] or ())


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _one_job(site: Site, num_items: int) -> tuple[float, float]:
    """Items per second, counted from when it was sent, and from when it was accepted."""
    body = a_body(num_items)
    sent = time.time()
    job_id = site.send(body)
    accepted = time.time()
    job = site.wait_for(job_id)
    if job["counts"]["succeeded"] != num_items:
        raise RuntimeError(f"Not every item has a result: {job['counts']}.")
    ended = dt.datetime.fromisoformat(job["finished_at"]).timestamp()
    return num_items / (ended - sent), num_items / (ended - accepted)


def naive_peer(databases: Databases, kind: str, *, num_items: int, num_runs: int) -> Iterator[Measured]:
    """One Celery task per item, from its submission to the last result."""
    with (
        databases.fresh(kind) as url,
        opened(url) as database,
        tempfile.TemporaryDirectory(prefix="padserve-bench-") as folder,
        a_stack(Path(folder), url) as stack,
    ):
        stack.start_redis()
        redis_url = f"redis://127.0.0.1:{stack.redis_port}/0"
        stack.start("peer", [sys.executable, "-m", "bench.system.peer"])

        def write(number: int) -> float:
            began = time.time()
            peer.submit(database, redis_url, [PROMPT] * number)
            wait_until(lambda: not peer.num_unfinished(database), MOST_SECONDS, "the peer's items are written")
            return time.time() - began

        write(WARM_UP_ITEMS)
        rates = [num_items / write(num_items) for _ in range(num_runs)]
    yield Measured(
        SCENE,
        f"{kind}, one Celery task per item, {num_items:,} items",
        "from submission to last result",
        tuple(rates),
        "items/s",
    )
