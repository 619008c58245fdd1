"""The dashboard below a path of a host: pages, their parts, scripts and streams are all asked for below that path."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Request, expect

from padserve import Client
from tests.browser.conftest import PATIENCE_MS, Watched, sign_in
from tests.system.behind_a_proxy import PREFIX, Proxied, api_behind_a_proxy


@pytest.fixture
def proxied(tmp_path: Path, redis_url: str) -> Iterator[Proxied]:
    with api_behind_a_proxy(tmp_path, redis_url) as proxied:
        yield proxied


def test_a_visit_never_leaves_the_path(browser: Browser, proxied: Proxied, watched: Watched) -> None:
    with Client(proxied.url, proxied.key) as client:
        client.profiles.put("ada", principles=["formal", "brief"], learn=True)
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    watched.hear(page)
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(urlsplit(request.url).path)

    page.on("request", note)

    sign_in(page, f"{proxied.url}/", proxied.key)
    for name in ("Profiles", "Strength", "Models & health", "Keys & webhooks", "New job"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.locator("nav [aria-current=page]").first).to_have_text(name)
    page.get_by_label("Rows as NDJSON or CSV").fill('{"custom_id": "a", "user_id": "ada", "prompt": "Hi"}')
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Everything is right")).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.goto(f"{proxied.url}/profiles/ada/teach")
    page.locator("[data-theme-switch]").click()
    page.reload()

    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert {cookie["path"] for cookie in context.cookies()} == {f"{PREFIX}/"}
    assert [path for path in asked if not path.startswith(f"{PREFIX}/")] == []
    assert any(path.endswith("/live") for path in asked)
    context.close()
