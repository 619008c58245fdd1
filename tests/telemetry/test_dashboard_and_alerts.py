"""The dashboard and the alerts ask for what the processes really expose, in PromQL that is PromQL."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped] # published without types
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from db.session import Database
from tests.telemetry import reference

MONITORING = Path(__file__).parents[2] / "docker" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "padserve.json").read_text())
RULES = [rule for group in yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"] for rule in group["rules"]]
BRANCHES = ("lhs", "rhs", "expr", "vector_selector")
SCRAPED = {"job", "instance", "up"}
"""What Prometheus itself adds."""

Exposed = dict[str, dict[str, set[str]]]


@pytest.fixture
def exposed(sqlite_database: Database) -> Exposed:
    """The real expositions of both processes, parsed: names of series, and their labels with their values."""
    found: Exposed = {}
    for registry in reference.registries(sqlite_database).values():
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return found


def expressions() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [expr.replace("$__rate_interval", "5m") for expr in asked] + [rule["expr"] for rule in RULES]


def selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for child in (*(getattr(node, branch, None) for branch in BRANCHES), *getattr(node, "args", ())):
        if child is not None:
            yield from selectors(child)


def test_every_series_and_label_that_is_asked_for_is_exposed(exposed: Exposed) -> None:
    num_selectors = 0
    for expression in expressions():
        for selector in selectors(promql_parser.parse(expression)):
            num_selectors += 1
            assert selector.name in exposed, expression
            for matcher in selector.matchers.matchers:
                values = exposed[selector.name].get(matcher.name)
                assert values is not None or matcher.name in SCRAPED, expression
                if matcher.op is promql_parser.MatchOp.Equal:
                    assert matcher.value in (values or ()), expression

    assert num_selectors > 60


def test_every_metric_of_ours_is_shown_on_the_dashboard_or_watched_by_an_alert(exposed: Exposed) -> None:
    asked = {selector.name for expression in expressions() for selector in selectors(promql_parser.parse(expression))}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed if name.startswith("padserve_")}

    assert ours - {re.sub(r"_(bucket|sum|count)$", "", name or "") for name in asked} == {"padserve_build_info"}


def test_every_alert_says_what_it_means_and_what_to_do_and_the_documentation_says_more() -> None:
    page = reference.PAGE.read_text()

    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "action"} <= rule["annotations"].keys()
        assert f"`{rule['alert']}`" in page
    assert set(re.findall(r"`(Padserve\w+)`", page)) == {rule["alert"] for rule in RULES}


def test_the_reference_of_metrics_is_what_the_processes_expose(sqlite_database: Database) -> None:
    expected = reference.page_with(reference.table(sqlite_database))

    assert reference.PAGE.read_text() == expected, "run `python -m tests.telemetry.reference`"


def test_panels_lie_side_by_side_and_none_on_another() -> None:
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_compose_gives_prometheus_and_grafana_these_files() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())

    assert config["rule_files"] == ["/etc/prometheus/rules.yml"]
    assert [job["job_name"] for job in config["scrape_configs"]] == ["padserve-api", "padserve-worker"]
