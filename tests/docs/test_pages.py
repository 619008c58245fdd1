"""The pages lead to what there is: links, anchors, files, settings and routes; and none is left out."""

import re
from pathlib import Path

import pytest

from docs.extension import PAGES as GENERATED
from docs.extension.api_page import document
from docs.extension.metrics_page import declared
from docs.extension.settings_page import rows_by_name
from padserve.settings import KNOWN_NAMES, PREFIX
from tests.docs.blocks import DOCS, PAGES, ROOT, prose_of

README = ROOT / "README.md"
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SETTING = re.compile(r"\bPADSERVE_[A-Z_]*[A-Z]\b")
_ROUTE = re.compile(r"(?<![\w.])/v1/[\w/{}:.-]*\w\}?")
_OTHERS_SETTINGS = {"PADSERVE_WEBHOOK_SECRET"}  # of an example
_NOT_SERVED = {"/v1/messages/count_tokens"}  # and a page says so
WITH_DECISIONS = (README, *sorted(DOCS.rglob("*.md")))


@pytest.mark.parametrize("page", WITH_DECISIONS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    broken = []
    for target, anchor in _LINK.findall(prose_of(page)):
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(f"{target}#{anchor}")

    assert not broken


@pytest.mark.parametrize("folder", ["api", "bench", "db", "docs", "evaluation", "examples", "padserve", "worker"])
def test_every_page_that_code_and_pages_mention_is_there(folder: str) -> None:
    files = [file for file in (ROOT / folder).rglob("*") if file.suffix in {".py", ".md"}]
    missing = {
        (str(file.relative_to(ROOT)), name)
        for file in files
        for name in re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text(encoding="utf-8"))
        if not (ROOT / name).exists() and not name.startswith("docs/decisions/00")
    }

    assert not missing


@pytest.mark.parametrize("name", GENERATED)
def test_the_reference_says_what_the_code_says(name: str) -> None:
    page = DOCS / "reference" / name

    assert page.read_text(encoding="utf-8") == GENERATED[name](), "run `make docs` and commit what it writes"


def test_every_setting_has_a_meaning_and_no_page_names_another() -> None:
    rows = rows_by_name()
    mentioned = {name for page in (*PAGES, README) for name in _SETTING.findall(page.read_text(encoding="utf-8"))}

    assert {PREFIX + name for name in rows} == KNOWN_NAMES
    assert not [name for name, row in rows.items() if not row.meaning]
    assert mentioned - KNOWN_NAMES - _OTHERS_SETTINGS == set()


def test_no_page_names_a_route_that_there_is_not() -> None:
    routes = [re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path)) for path in document()["paths"]]
    prefixes = {path.split("{")[0].rstrip("/") for path in document()["paths"]}
    mentioned = {(page.name, route) for page in (*PAGES, README) for route in _ROUTE.findall(prose_of(page))}

    unknown = {
        (page, route)
        for page, route in mentioned
        if route not in prefixes | _NOT_SERVED and not any(known.fullmatch(route) for known in routes)
    }

    assert not unknown


def test_every_metric_is_told_of_once() -> None:
    names = [name for name, _, _ in declared()]

    assert len(names) == len(set(names))
    assert all(meaning for _, _, meaning in declared())


def _anchors(file: Path) -> set[str]:
    """As GitHub and MyST make them of headings."""
    if file.suffix != ".md":
        return set()
    headings = _HEADING.findall(file.read_text(encoding="utf-8"))
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}
