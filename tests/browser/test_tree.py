"""What a screen reader is told: every page's tree of names and roles, as Chromium gives it to assistive technology."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site

CONTROLS = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "slider", "spinbutton"}
CONTEXTS = {"row", "group", "listitem", "form", "navigation", "region", "search", "dialog", "banner"}
PAGES = (
    *("/", "/jobs/new", "/jobs/new?kind=campaign", "/jobs/JOB", "/jobs/JOB?q=item", "/profiles", "/profiles/ada"),
    *("/profiles/ada/preview", "/profiles/ada/history", "/profiles/ada/teach", "/strength", "/models", "/account"),
)


@dataclass
class Node:
    """One node of the tree, with what is below it."""

    role: str
    name: str
    level: int | None
    live: str | None
    children: list["Node"] = field(default_factory=list)

    def below(self) -> Iterator["Node"]:
        """This node and all below it, in their order."""
        yield self
        for child in self.children:
            yield from child.below()


def tree(page: Page) -> Node:
    """What is not ignored."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    known = {node["nodeId"]: node for node in nodes}

    def built(node: dict[str, Any]) -> list[Node]:
        children = [each for name in node.get("childIds", ()) if name in known for each in built(known[name])]
        if node.get("ignored"):
            return children
        properties = {each["name"]: each["value"].get("value") for each in node.get("properties", ())}
        said = node.get("name", {}).get("value", "").strip()
        return [Node(node["role"]["value"], said, properties.get("level"), properties.get("live"), children)]

    return built(nodes[0])[0]


def ambiguous(node: Node) -> Iterator[tuple[str, str, str]]:
    """Controls of the same role and name within one context, and controls without a name."""
    own: list[Node] = []

    def collect(below: Node) -> Iterator[tuple[str, str, str]]:
        for child in below.children:
            if child.role in CONTEXTS and child.name != node.name:
                yield from ambiguous(child)
                continue
            if child.role in CONTROLS:
                own.append(child)
            yield from collect(child)

    yield from collect(node)
    for (role, name), count in Counter((each.role, each.name) for each in own).items():
        if count > 1 or not name:
            yield node.name, role, name


@pytest.fixture(scope="module")
def job_id(site: Site) -> str:
    return str(site.failed_job())


@pytest.mark.parametrize("path", PAGES)
def test_every_control_has_a_name_of_its_own_and_headings_and_tables_are_in_order(
    page: Page, site: Site, job_id: str, path: str
) -> None:
    page.goto(site.url + path.replace("JOB", job_id))
    expect(page.get_by_role("heading", level=1)).to_be_visible()

    root = tree(page)

    assert list(ambiguous(root)) == []
    levels = [each.level or 0 for each in root.below() if each.role == "heading"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    for table in (each for each in root.below() if each.role == "table"):
        heads = [each for each in table.below() if each.role in {"columnheader", "rowheader"}]
        assert heads
        assert all(each.name for each in heads)
    assert {each.live for each in root.below() if each.live} <= {"polite", "assertive", "off"}
    assert [each.role for each in root.below() if each.role in {"banner", "main"}] == ["banner", "main"]


def test_the_focus_stays_where_somebody_works_when_what_they_pressed_is_replaced(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/jobs/new")
    page.get_by_label("Rows as NDJSON or CSV").fill('{"custom_id": "x"}')
    check = page.get_by_role("button", name="Check and estimate")
    check.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Line 1").first).to_be_visible()
    expect(check).to_be_focused()

    page.goto(f"{site.url}/profiles/ada")
    page.get_by_role("button", name="Save").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved as version")).to_be_focused()
