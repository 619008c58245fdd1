"""What was counted: read as Prometheus reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector


@dataclass
class Counts:
    """The series that have changed, by name and labels, and by how much."""

    changed: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, series: str) -> float:
        return self.changed.get(series, 0.0)


@contextmanager
def counted(*collectors: Collector) -> Iterator[Counts]:
    """What these count until the block ends; read afterwards."""
    counts, before = Counts(), _read(collectors)
    yield counts
    after = _read(collectors)
    counts.changed = {
        series: value - before.get(series, 0.0) for series, value in after.items() if value != before.get(series, 0.0)
    }


def series_of(registry: CollectorRegistry) -> dict[str, float]:
    """Everything that a scrape would give."""
    return _read((registry,))


def _read(collectors: tuple[Collector | CollectorRegistry, ...]) -> dict[str, float]:
    read = {}
    for collector in collectors:
        for family in collector.collect():
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                read[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return read
