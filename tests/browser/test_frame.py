"""What every page has: signing in, keyboards, themes, and what happens when the server or the key goes away."""

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Check, Site, Watched, sign_in


def test_the_other_pages_have_no_serious_finding_and_fit_a_phone(
    page: Page, site: Site, watched: Watched, keep: Check
) -> None:
    for name, path in (("campaign", "/jobs/new?kind=campaign"), ("account", "/account"), ("missing", "/jobs/none")):
        page.goto(site.url + path)
        keep(page, name)

    assert "404" in watched.complaints.pop()


def test_a_wrong_key_is_told_and_a_right_one_signs_in(
    browser: Browser, site: Site, watched: Watched, keep: Check
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.url)
    page.get_by_label("API key").fill("pad_wrong")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_have_text("This API key is unknown, expired or revoked.")
    keep(page, "sign-in")
    watched.hear(page)
    sign_in(page, site.url, site.key("admin")[1])
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    context.close()


def test_the_keyboard_reaches_the_content_first(page: Page, site: Site) -> None:
    page.goto(site.url)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.locator("main")).to_be_focused()


def test_a_chosen_theme_is_kept(page: Page, site: Site) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(site.url)

    page.get_by_role("button", name="Switch to dark colours").click()
    page.reload()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_page_that_stays_open_goes_on_when_the_server_is_back(page: Page, site: Site, watched: Watched) -> None:
    page.goto(site.url)
    page.evaluate("window.isTheSamePage = true")

    watched.is_away = True
    api = site.stack.process("api")
    api.terminate()
    api.wait(30)
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    site.stack.start_api()
    expect(page.get_by_text("The server does not answer.")).to_be_hidden()

    watched.is_away = False
    site.failed_job("After the restart")
    expect(page.get_by_role("link", name="After the restart")).to_be_visible()
    assert page.evaluate("window.isTheSamePage")


def test_an_open_page_ends_in_the_page_to_sign_in_when_its_key_is_revoked(
    browser: Browser, site: Site, watched: Watched
) -> None:
    key_id, key = site.key("jobs:read")
    context = browser.new_context()
    page = context.new_page()
    watched.hear(page)
    sign_in(page, site.url, key)
    expect(page.get_by_role("link", name="New job")).to_have_count(0)

    site.revoke(key_id)

    expect(page.get_by_label("API key")).to_be_visible()
    context.close()
