"""What every process counts, and how it is shown to Prometheus. Knows no job, no item and no tenant.

Labels have few values, all of them ours: none holds a tenant, a user, a job, a model or a path that somebody asked for.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from threading import Lock
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Info, Metric, ProcessCollector, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext

from db.faults import is_passing
from db.session import Database

PASSES, REFUSED = "passes", "refused"

DATABASE_FAULTS = Counter(
    "padserve_database_faults_total",
    "Statements and connections that failed. `passes`: the database is away, full, locked or migrated; `refused`: "
    "it did not take what it was given, which uniqueness does on purpose.",
    ["kind"],
    registry=None,
)
REDIS_FAULTS = Counter(
    "padserve_redis_faults_total",
    "Messages, subscriptions, consumers and health checks that Redis did not serve.",
    registry=None,
)
BUILD = Info("padserve_build", "The version that runs.", registry=None)
BUILD.info({"version": version("padserve")})

Counted: TypeAlias = dict[str, float]
"""Faults of the database by kind."""


def new_registry(collectors: Iterable[Collector]) -> CollectorRegistry:
    """These collectors, with what every process counts and with its processor time, memory and open files."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # a moment for each series would double them, and nobody asks for it
    for kind in (PASSES, REFUSED):
        DATABASE_FAULTS.labels(kind)  # 0 is shown: a series that begins with its first fault shows no increase
    registry = CollectorRegistry()
    for collector in (ProcessCollector(registry=None), DATABASE_FAULTS, REDIS_FAULTS, BUILD, *collectors):
        registry.register(collector)
    return registry


def watch(database: Database) -> None:
    """Count what goes wrong in this database from now on."""
    event.listen(database.engine, "handle_error", _count)


def _count(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception or context.original_exception
    DATABASE_FAULTS.labels(PASSES if is_passing(error) else REFUSED).inc()


class CountedHistogram(Collector):
    """A histogram that takes many equal observations at once; the library's takes one by one, a microsecond each."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, value: float, times: int) -> None:
        """Count `times` observations of `value`."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += times
            self._sum += value * times

    def collect(self) -> Iterator[Metric]:
        """The family, with how many observations each bound is at or above."""
        with self._lock:
            up_to, total = list(accumulate(self._counts)), self._sum
        family = HistogramMetricFamily(self._name, self._documentation)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        family.add_metric([], list(zip(bounds, map(float, up_to), strict=True)), total)
        yield family


class FaultsSince:
    """Differences of the fault counters of a process that nobody scrapes, for the one that is scraped."""

    def __init__(self) -> None:
        self._told: Mapping[str, float] = {}

    def take(self) -> Counted:
        """Database faults by kind since the last call, without those that are 0."""
        counted = {
            sample.labels["kind"]: sample.value
            for family in DATABASE_FAULTS.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
        new = {kind: value - self._told.get(kind, 0.0) for kind, value in counted.items()}
        self._told = counted
        return {kind: value for kind, value in new.items() if value}


def add(counted: Counted) -> None:
    """Add what `FaultsSince.take` gave in another process to the counters of this one."""
    for kind, value in counted.items():
        DATABASE_FAULTS.labels(kind).inc(value)
