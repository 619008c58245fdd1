"""The table in docs/monitoring.md, from what the processes expose: `python -m tests.telemetry.reference`."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Metric

import api.metrics
import worker.metrics
from db.session import Database

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"


def registries(database: Database) -> dict[str, CollectorRegistry]:
    """What each process exposes, with a request that it has answered and a speed that it has reached."""
    api.metrics.count_request("GET", "/healthz", 200, 0.001)
    return {"api": api.metrics.registry(database), "worker": worker.metrics.registry()}


def table(database: Database) -> str:
    """A row for each metric of ours; `process_*` are the library's."""
    rows: dict[str, tuple[Metric, list[str]]] = {}
    for process, registry in registries(database).items():
        for family in registry.collect():
            if family.name.startswith("padserve_"):
                rows.setdefault(_name_of(family), (family, []))[1].append(process)
    lines = ["| metric | of | kind | labels | meaning |", "|---|---|---|---|---|"]
    for name, (family, processes) in sorted(rows.items()):
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        named = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {', '.join(processes)} | {family.type} | {named} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def _name_of(family: Metric) -> str:
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def page_with(rows: str) -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + rows + END + rest.partition(END)[2]


if __name__ == "__main__":
    import tempfile

    from db import schema

    with tempfile.TemporaryDirectory() as folder:
        migrated = Database(f"sqlite:///{folder}/empty.db")
        schema.upgrade(migrated)
        PAGE.write_text(page_with(table(migrated)))
        migrated.dispose()
