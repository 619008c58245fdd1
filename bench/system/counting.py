"""What it costs to count: the same jobs where everything is counted and shown, and where nothing is.

On a machine that others use, two runs of the same differ by more than that: so what counts is also called alone.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

import httpx

from bench.system import throughput
from bench.system.databases import Databases
from bench.system.site import Site, a_site
from bench.system.table import Measured
from domain.attempts import ClaimedItem, Outcome
from tests.servers import free_port
from worker import metrics

SCENE = "metrics"
TOKEN = "shown-to-the-bench"  # noqa: S105 - it opens what is gone when the bench ends
SCRAPE_SECONDS = 1.0
"""Fifteen times as often as Prometheus does unless told otherwise."""


def counting(databases: Databases, kind: str, *, num_items: int, num_slots: int, num_runs: int) -> Iterator[Measured]:
    """Processor time of all processes together, by item, of jobs that are run on two sites in turn."""
    port = free_port()
    shown = {"metrics_token": TOKEN, "metrics_port": port}
    with ExitStack() as stack:
        urls = [stack.enter_context(databases.fresh(kind)) for _ in range(2)]
        counted = stack.enter_context(a_site(urls[0], num_slots=num_slots, settings=shown))
        plain = stack.enter_context(a_site(urls[1], num_slots=num_slots, is_counted=False))
        addresses = [f"http://127.0.0.1:{each}/metrics" for each in (counted.stack.api_port, port)]
        for site in (counted, plain):
            site.wait_for(site.submit(throughput.WARM_UP_ITEMS))
        with_, without = list[float](), list[float]()
        for _ in range(num_runs):
            without.append(_microseconds(urls[1], plain, num_items))
            with _scraped(addresses):
                with_.append(_microseconds(urls[0], counted, num_items))
    case = f"{kind}, {num_slots} slots, 1 worker, {num_items:,} items"
    yield Measured(SCENE, case, "processor time per item, nothing counted", tuple(without), "us")
    yield Measured(SCENE, case, "processor time per item, counted and shown every second", tuple(with_), "us")
    yield Measured(SCENE, case, "more, by the medians", (100 * (median(with_) / median(without) - 1),), "%")
    alone = tuple(_alone(num_items, num_slots) for _ in range(num_runs))
    yield Measured(SCENE, case, f"what counts, alone, per item, {num_slots} in a claim and a save", alone, "us")


def _microseconds(database_url: str, site: Site, num_items: int) -> float:
    used = throughput.Processors(database_url, site)
    site.wait_for(site.submit(num_items))
    return sum(used.per_item(num_items).values())


def _alone(num_items: int, num_slots: int) -> float:
    """Microseconds of an item whose claim and save hold no more than the slots do: mostly they hold more."""
    job_id, seconds = uuid.uuid4(), 0.01
    items = [ClaimedItem(place, job_id, 1, [], {}, {}, seconds) for place in range(num_slots)]
    outcomes = [Outcome(place, 1, "", num_prompt_tokens=60, num_completion_tokens=20) for place in range(num_slots)]
    began = time.thread_time()
    for _ in range(0, num_items, num_slots):
        metrics.count_claim(items, seconds)
        metrics.count_save(outcomes, 0, seconds)
    return 1e6 * (time.thread_time() - began) / num_items


@contextmanager
def _scraped(addresses: Sequence[str]) -> Iterator[None]:
    """For the block these are read again and again, as Prometheus does."""
    over = threading.Event()

    def scrape() -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            while True:  # once at least, however soon it is over
                for address in addresses:
                    client.get(address).raise_for_status()
                if over.wait(SCRAPE_SECONDS):
                    return

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
