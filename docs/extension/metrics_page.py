"""docs/reference/metrics.md: every metric that the processes have registered, read out of their registries."""

import re
from pathlib import Path

from docs.extension.markdown import WRITTEN, code, table

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "db", "worker")
_DECLARED = re.compile(
    r"\b(Counter|Gauge|Histogram|Summary|Info|Enum|CounterMetricFamily|GaugeMetricFamily|HistogramMetricFamily)\(\s*"
    r"\"(?P<name>[a-z_]+)\",\s*\"(?P<help>[^\"]*)\""
)


def render() -> str:
    """The page."""
    rows = [(code(name), kind, meaning) for name, kind, meaning in declared()]
    lines = [
        WRITTEN,
        "",
        "# Metrics",
        "",
        "Metrics in Prometheus' format; the guide on monitoring tells how to scrape them.",
        "",
    ]
    body = table(("metric", "kind", "meaning"), rows) or ["No process serves metrics yet."]
    return "\n".join([*lines, *body]).rstrip() + "\n"


def declared() -> list[tuple[str, str, str]]:
    """Name, kind and help of every metric that the packages declare, in alphabetical order."""
    found = {
        match["name"]: (match["name"], match[1].removesuffix("MetricFamily").lower(), match["help"])
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for match in _DECLARED.finditer(file.read_text(encoding="utf-8"))
    }
    return [found[name] for name in sorted(found)]
