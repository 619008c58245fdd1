"""What a person does with jobs in a browser: submit, watch, look into, search, pause, retry."""

import json
import re

from playwright.sync_api import Page, expect

from api.dashboard.sessions import COOKIE
from tests.browser.conftest import Check, Site, Watched, sign_in
from tests.system.processes import KEY

RECEIVED = """['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))
    .reduce((sum, each) => sum + each.decodedBodySize, 0)"""
PROMPTS = ("Write about green tea.", "Announce the new bicycle.", "Invite Ben to the garden party.")


def rows(num_items: int) -> str:
    return "\n".join(
        json.dumps({"custom_id": f"letter-{n}", "user_id": ("ada", "ben")[n % 2], "prompt": PROMPTS[n % 3]})
        for n in range(num_items)
    )


def fill_in(page: Page, site: Site, text: str, name: str) -> None:
    page.goto(f"{site.url}/jobs/new")
    page.get_by_label("Rows as NDJSON or CSV").fill(text)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Most tokens a text").fill("24")


def submit(page: Page, site: Site, text: str, name: str) -> None:
    fill_in(page, site, text, name)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def state_of(page: Page, text: str) -> None:
    expect(page.locator("#job .state").first).to_have_text(text)


def test_a_pasted_job_is_checked_submitted_and_watched_to_its_end_without_a_reload(
    page: Page, site: Site, keep: Check
) -> None:
    fill_in(page, site, rows(12), "Spring letter")
    page.get_by_role("button", name="Check and estimate").click()
    expect(page.get_by_role("heading", name="Everything is right")).to_be_visible()
    keep(page, "new-checked")
    page.get_by_role("button", name="Submit").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Spring letter")
    page.evaluate("window.isTheSamePage = true")
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.resource_type) if "/results" not in request.url else None)
    state_of(page, "completed")
    expect(page.locator(".result")).to_have_count(12)
    assert page.evaluate("window.isTheSamePage")
    assert asked <= {"eventsource"}  # and nothing was asked for again and again
    expect(page.get_by_role("status")).to_have_text("Spring letter: completed")

    page.get_by_role("button", name=re.compile("Show unguided")).first.click()
    expect(page.locator(".unguided").first).to_be_visible()
    keep(page, "job")
    with page.expect_download() as download:
        page.get_by_role("link", name="NDJSON").click()
    assert len(download.value.path().read_text().splitlines()) == 12

    page.get_by_label("Search").fill("letter-11")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".result")).to_have_count(1)


def test_what_is_wrong_with_a_paste_stands_beside_it_by_line(page: Page, site: Site, keep: Check) -> None:
    fill_in(page, site, rows(2) + '\n{"custom_id": "x"}\n', "Wrong")

    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="Line 3").first.click()

    selected = "(t => t.value.slice(t.selectionStart, t.selectionEnd))(document.querySelector('#rows'))"
    assert page.evaluate(selected) == '{"custom_id": "x"}'
    keep(page, "new-wrong")


def test_a_job_is_paused_and_resumed_from_the_list_by_keyboard(page: Page, site: Site, keep: Check) -> None:
    submit(page, site, rows(400), "Serial letter")
    page.goto(site.url)
    row = page.get_by_role("row", name=re.compile("Serial letter"))

    row.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(row.locator(".state")).to_have_text("paused")
    keep(page, "jobs")
    expect(row.get_by_role("button", name="Resume")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row.locator(".state")).not_to_have_text("paused")

    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".state")).to_have_text("cancelled")
    expect(row.get_by_role("link", name="Serial letter")).to_be_focused()


def test_a_chosen_file_outlives_its_session_and_is_sent_once_somebody_has_signed_in_again(
    page: Page, site: Site, watched: Watched, keep: Check
) -> None:
    fill_in(page, site, "", "Kept letter")
    page.get_by_label("File, instead").set_input_files(
        {"name": "rows.ndjson", "mimeType": "", "buffer": rows(2).encode()}
    )
    page.context.clear_cookies(name=COOKIE)

    page.get_by_role("button", name="Submit").click()
    dialog = page.get_by_role("dialog", name="Your session has ended")
    dialog.get_by_label("API key").fill("pad_wrong")
    keep(page, "session-ended")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).to_have_text("This API key is unknown, expired or revoked.")
    dialog.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Kept letter")
    assert all("401" in each for each in watched.complaints)
    watched.complaints.clear()


def test_what_is_typed_outlives_a_server_that_is_away_and_a_session_that_began_elsewhere(
    page: Page, site: Site, watched: Watched
) -> None:
    page.goto(f"{site.url}/profiles/ada")
    page.get_by_label("Tags").fill("kept")
    watched.is_away = True
    page.route("**/session", lambda route: route.abort())
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Nothing was sent, and nothing of it is lost")

    page.unroute("**/session")
    watched.is_away = False
    other = page.context.new_page()
    other.context.clear_cookies(name=COOKIE)
    sign_in(other, site.url, KEY)  # the forms of the first page have the token of the session before
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Saved as version")).to_be_visible()
    with site.client() as client:
        assert client.profiles.get("ada").tags == ("kept",)
        client.profiles.put("ada", principles=["formal"], tags=["newsletter"], attributes={"first_name": "Ada"})


def test_a_failure_is_shown_with_its_error_and_replayed(page: Page, site: Site, keep: Check) -> None:
    job_id = site.failed_job()
    page.goto(f"{site.url}/models")
    expect(page.get_by_text("non_finite_logits").first).to_be_visible()
    keep(page, "models")

    page.goto(f"{site.url}/jobs/{job_id}")
    expect(page.locator(".result .wrong").first).to_contain_text("The logits were not finite.")
    page.get_by_role("button", name=re.compile("Retry")).click()

    state_of(page, "completed")
    expect(page.locator(".result .state.is-succeeded")).to_have_count(2)


def test_ten_thousand_results_are_paged_light_and_quick(page: Page, site: Site) -> None:
    job_id = site.ended_job(10_000)

    page.goto(f"{site.url}/jobs/{job_id}?after=9949", wait_until="load")
    expect(page.get_by_text("Items 9\u202f951 to 9\u202f975 of 10\u202f000")).to_be_visible()
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert page.evaluate(RECEIVED) < 300_000
    assert paint < 1000

    page.get_by_role("link", name="Next").click()
    expect(page.locator(".result")).to_have_count(25)
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.get_by_role("link", name="Previous").click()
    expect(page.locator(".result .mono").first).to_have_text("item-9950")


def test_markup_runs_nowhere_and_is_read_as_it_was_written(page: Page, site: Site) -> None:
    markup = '<script>window.ran = 1</script>"><img src=x onerror="window.ran = 2">{{7*7}}'
    with site.client() as client:
        client.profiles.put("<i>{{7*7}}", principles=['"><img src=x>'])
    item = {"custom_id": markup, "user_id": "<i>{{7*7}}", "prompt": "Write about green tea."}

    submit(page, site, json.dumps(item), markup)
    state_of(page, "completed")
    expect(page.locator(".result .mono").first).to_have_text(markup)
    page.goto(site.url)
    expect(page.get_by_role("link", name=markup)).to_be_visible()

    assert page.evaluate("window.ran") is None
