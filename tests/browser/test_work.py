"""What a person does with jobs: submit, watch, look into, search, pause, retry."""

import json
import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Site

TOPIC = "Tell {user} about the new tea."


def rows(num_items: int, user: str = "ada", topic: str = "green tea") -> str:
    return "\n".join(
        json.dumps({"custom_id": f"letter-{number}", "user_id": user, "prompt": f"Write about {topic} {number}."})
        for number in range(num_items)
    )


def submit(page: Page, site: Site, text: str, name: str) -> None:
    page.goto(f"{site.url}/jobs/new")
    page.get_by_label("Rows as NDJSON or CSV").fill(text)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Most tokens a text").fill("24")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_a_job_that_is_pasted_is_watched_to_its_end_without_a_reload(
    page: Page, site: Site, keep: Callable[[Page, str], None]
) -> None:
    page.goto(f"{site.url}/jobs/new")
    page.get_by_label("Rows as NDJSON or CSV").fill(rows(12))
    page.get_by_label("Name", exact=True).fill("Spring letter")
    page.get_by_label("Most tokens a text").fill("24")
    page.get_by_role("button", name="Check and estimate").click()
    expect(page.get_by_role("heading", name="Everything is right")).to_be_visible()
    keep(page, "new-checked")
    page.get_by_role("button", name="Submit").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Spring letter")
    page.evaluate("window.isTheSamePage = true")
    expect(page.locator("#job .state").first).to_have_text("completed")
    expect(page.locator(".result")).to_have_count(12)
    assert page.evaluate("window.isTheSamePage")
    keep(page, "job")


def test_tour(page: Page, site: Site, keep: Callable[[Page, str], None]) -> None:
    page.goto(site.url)
    expect(page.get_by_role("link", name=re.compile("Spring"))).to_be_visible()
    keep(page, "jobs")
    page.goto(f"{site.url}/jobs/new")
    page.get_by_label("Rows as NDJSON or CSV").fill('{"custom_id": 1}\nnonsense\n' + rows(2, user="nobody"))
    page.get_by_role("button", name="Check and estimate").click()
    expect(page.get_by_role("heading", name="things are wrong")).to_be_visible()
    keep(page, "new-wrong")
    page.goto(f"{site.url}/jobs/new?kind=campaign")
    keep(page, "campaign")
    page.goto(f"{site.url}/models")
    keep(page, "models")
    page.goto(f"{site.url}/account")
    keep(page, "account")
