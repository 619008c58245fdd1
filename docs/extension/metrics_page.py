"""docs/reference/metrics.md: every metric that the packages declare, read out of their source: registering connects."""

import re
from pathlib import Path

from docs.extension.markdown import WRITTEN, code, table

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "db", "telemetry", "worker")
_DECLARED = re.compile(r"(?P<made_by>\w+)\(\s*\"(?P<name>padserve_[a-z_]+)\",\s*(?P<help>(?:\"[^\"]*\"\s*)+)")
KINDS = ("counter", "histogram", "summary", "gauge", "info")
"""What a metric may be, found in the name of what makes it."""


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
        name: (name, kind, "".join(re.findall(r'"([^"]*)"', match["help"])))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for match in _DECLARED.finditer(file.read_text(encoding="utf-8"))
        for kind in KINDS
        if kind in match["made_by"].lower()
        for name in [match["name"] + ("_info" if kind == "info" else "")]  # as it is exposed
    }
    return [found[name] for name in sorted(found)]
