"""What the API counts, and what it finds out about the queue when Prometheus asks.

It counts across tenants, so no tenant's key opens it: whoever has the token of `PADSERVE_METRICS_TOKEN` may read it,
and where none is set nobody may (docs/monitoring.md). The queue is looked at once in a few seconds, whoever asks how
often.
"""

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from api.webhooks.retries import Delivered, GivenUp, Postponed
from db.faults import describe
from db.queries.queue_lengths import QueueLengths, queue_lengths
from db.session import Database
from telemetry.metrics import new_registry

FRESH_SECONDS = 5.0
UNMATCHED, OTHER = "(unmatched)", "(other)"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
DELIVERED, POSTPONED, GIVEN_UP = "delivered", "postponed", "given_up"

HTTP_REQUESTS = Counter(
    "padserve_http_requests_total",
    "Requests by the template of their route; status 0 where the client left before an answer.",
    ["method", "route", "status"],
    registry=None,
)
HTTP_SECONDS = Histogram(
    "padserve_http_request_duration_seconds",
    "Time from a request to the end of its answer; streams of events last as long as they are listened to.",
    ["method", "route"],
    buckets=DURATIONS,
    registry=None,
)
WEBHOOK_ATTEMPTS = Counter(
    "padserve_webhook_attempts_total",
    "Attempts to deliver an event, by what became of them.",
    ["outcome"],
    registry=None,
)
DISABLED_WEBHOOKS = Counter(
    "padserve_disabled_webhooks_total", "Webhooks that were disabled because nothing could be delivered.", registry=None
)
READY = Gauge("padserve_ready", "Whether `/readyz` says that jobs are decoded now.", registry=None)

COLLECTORS = (HTTP_REQUESTS, HTTP_SECONDS, WEBHOOK_ATTEMPTS, DISABLED_WEBHOOKS, READY)

log = structlog.get_logger(__name__)


def registry(database: Database) -> CollectorRegistry:
    """All of it. What the database does not say is left out of one answer: its absence is no 0."""
    for outcome in (DELIVERED, POSTPONED, GIVEN_UP):
        WEBHOOK_ATTEMPTS.labels(outcome)
    return new_registry((*COLLECTORS, QueueCollector(database)))


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """A request that has ended; None where no route was found for it."""
    method, route = method if method in METHODS else OTHER, route or UNMATCHED
    HTTP_REQUESTS.labels(method, route, str(status)).inc()
    HTTP_SECONDS.labels(method, route).observe(seconds)


def count_webhook(decision: Delivered | Postponed | GivenUp, *, is_disabled: bool) -> None:
    """An attempt to deliver an event, once what became of it is committed."""
    outcome = {Delivered: DELIVERED, Postponed: POSTPONED, GivenUp: GIVEN_UP}[type(decision)]
    WEBHOOK_ATTEMPTS.labels(outcome).inc()
    DISABLED_WEBHOOKS.inc(is_disabled)


def is_token(given: str, token: str) -> bool:
    """Whether the text of an `Authorization` header holds the token. Takes as long for a wrong one."""
    return secrets.compare_digest(given.encode(), f"Bearer {token}".encode())


class QueueCollector(Collector):
    """How much waits and runs, of all tenants together; from one look, which is kept for `FRESH_SECONDS`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._found: QueueLengths | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: whoever registers it is not to ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The gauges, none of the queue's where the database does not answer."""
        if (free := self._free_bytes()) is not None:
            yield _gauge("padserve_database_disk_free_bytes", "Free space where the SQLite database lies.", free)
        found = self._lengths()
        if found is None:
            return
        items = {reason.value: float(number) for reason, number in found.num_queued.items()}
        yield _gauges(
            "padserve_queue_items", "Items that have not ended.", "state", items | {"running": float(found.num_running)}
        )
        jobs = {reason.value: float(number) for reason, number in found.num_jobs.items()}
        yield _gauges("padserve_queue_jobs", "Open jobs, by what their queued items wait for.", "state", jobs)
        yield _gauge(
            "padserve_queue_oldest_wait_seconds",
            "The longest time that a job with items for workers has gone without a claim.",
            found.oldest_wait_seconds,
        )
        workers = {state.value: float(number) for state, number in found.num_workers.items()}
        yield _gauges("padserve_workers", "Workers that have said something lately.", "state", workers)

    def _lengths(self) -> QueueLengths | None:
        with self._lock:
            if self._looked_at is None or self._clock() - self._looked_at >= FRESH_SECONDS:
                self._found = self._look()
                self._looked_at = self._clock()
            return self._found

    def _look(self) -> QueueLengths | None:
        try:
            with self._database.reading() as session:
                return queue_lengths(session)
        except SQLAlchemyError as error:
            log.warning("queue_not_measured", **describe(error))
            return None

    def _free_bytes(self) -> float | None:
        file = self._database.url.database
        if self._database.url.get_backend_name() != "sqlite" or not file or file == ":memory:":
            return None
        try:
            return float(shutil.disk_usage(Path(file).absolute().parent).free)
        except OSError:
            return None


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)


def _gauges(name: str, documentation: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
