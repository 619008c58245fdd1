"""What a person does with profiles: make, edit, preview, teach, restore, erase; and what two people do at once."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Site

MARKUP = '"><img src=x onerror=alert(1)> {{7*7}} <script>alert(2)</script>'
PROMPT = "Write about green tea."


def save(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Save")).click()


def write_principle(page: Page, place: int, text: str, weight: str) -> None:
    page.get_by_label("Principle", exact=True).nth(place).fill(text)
    page.get_by_label("Weight as a number").nth(place).fill(weight)


def test_a_profile_is_made_edited_restored_and_erased(
    page: Page, site: Site, keep: Callable[[Page, str], None]
) -> None:
    page.goto(f"{site.url}/profiles")
    page.get_by_label("User id of a new profile").fill("carla@example.com")
    page.get_by_role("button", name="New profile").click()
    write_principle(page, 0, "formal", "1")
    page.get_by_role("button", name="Add a principle").click()
    write_principle(page, 1, "concise", "0.5")
    slider = page.get_by_role("slider", name="Weight", exact=True).nth(1)
    slider.focus()
    slider.press("ArrowRight")
    expect(page.get_by_label("Weight as a number").nth(1)).to_have_value("0.55")
    save(page)
    expect(page.get_by_text("Saved as version 1.")).to_be_visible()
    page.get_by_label("Strength", exact=True).fill("0")
    page.get_by_label("Tags").fill("vip, beta")
    save(page)
    expect(page.get_by_text("Saved as version 2.")).to_be_visible()
    keep(page, "profile")

    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("heading", name="Version 2")).to_be_visible()
    expect(page.locator(".changes").first).to_contain_text("beta, vip")
    keep(page, "history")
    page.get_by_role("button", name="Restore version 1").click()
    expect(page.get_by_role("heading", name="Version 3")).to_be_visible()
    with site.client() as client:
        assert [(each.text, each.weight) for each in client.profiles.get("carla@example.com").principles] == [
            ("formal", 1.0),
            ("concise", 0.55),
        ]

    page.goto(f"{site.url}/profiles?find=CARLA")
    keep(page, "profiles")
    page.get_by_role("link", name="carla@example.com").click()
    page.get_by_text("Erase this profile").click()
    page.get_by_label("Type the user id to confirm").fill("carla@example.com")
    page.get_by_role("button", name="Erase").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Profiles")
    expect(page.get_by_role("link", name="carla@example.com")).to_have_count(0)


def test_two_who_edit_at_once_see_both_and_lose_nothing(
    page: Page, site: Site, keep: Callable[[Page, str], None]
) -> None:
    with site.client() as client:
        client.profiles.put("dora", principles=["formal"])
        page.goto(f"{site.url}/profiles/dora")
        client.profiles.put("dora", principles=["playful"])

    write_principle(page, 1, "written by hand", "0.7")
    page.get_by_label("Example 1").fill("Dear you,\nlong time no see.")
    save(page)

    expect(page.get_by_role("alert")).to_contain_text("Somebody else changed this profile")
    expect(page.get_by_label("Example 1")).to_have_value("Dear you,\nlong time no see.")
    expect(page.get_by_label("Principle", exact=True).nth(1)).to_have_value("written by hand")
    keep(page, "conflict")
    page.get_by_role("button", name="Save again").click()
    expect(page.get_by_text("Saved as version 3.")).to_be_visible()


def test_markup_in_every_field_is_shown_as_text(page: Page, site: Site) -> None:
    with site.client() as client:
        client.profiles.put("eve <b>{{1}}", principles=[MARKUP], examples=[MARKUP], attributes={"a": MARKUP})
    page.on("dialog", lambda _: pytest_fail())
    for path in ("", "/history", "/preview", "/teach"):
        page.goto(f"{site.url}/profiles/eve%20%3Cb%3E%7B%7B1%7D%7D{path}")
        expect(page.get_by_role("heading", level=1)).to_have_text("eve <b>{{1}}")
        assert page.locator("img, main script").count() == 0
    page.goto(f"{site.url}/profiles?find=eve")
    expect(page.get_by_role("table")).to_contain_text('"><img src=x onerror')


def pytest_fail() -> None:
    raise AssertionError("a script of a user's text ran")


def test_a_preview_shows_every_text_with_what_guided_each_of_its_tokens(
    page: Page, site: Site, keep: Callable[[Page, str], None]
) -> None:
    page.goto(f"{site.url}/profiles/ben/preview")
    page.get_by_label("Prompt").fill(PROMPT)
    page.get_by_label("Most tokens").fill("24")
    page.get_by_role("button", name="Write").click()

    texts = page.locator(".token-text")
    expect(texts).to_have_count(5)
    tokens = texts.nth(3).get_by_role("button")
    assert tokens.count() > 3
    tokens.first.focus()
    tokens.first.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    candidates = page.locator(".tokens").nth(3).locator("[data-panel] tbody tr")
    expect(candidates).to_have_count(10)
    expect(tokens.nth(1)).to_have_attribute("aria-label", re.compile("reward [+\N{MINUS SIGN}]?\\d"))
    keep(page, "preview")

    page.get_by_role("button", name="Show what the profile's guidance would say of it").first.click()
    expect(page.locator(".tokens").first).to_contain_text("Reward")


def test_a_profile_is_taught_by_choosing_between_two_texts(
    page: Page, site: Site, keep: Callable[[Page, str], None]
) -> None:
    with site.client() as client:
        client.profiles.put("fred", principles=["formal", "playful", "concise"], learn=True)
    page.goto(f"{site.url}/profiles/fred/teach")
    for prompt in (PROMPT, "Write about a walk."):
        page.get_by_label("Prompt").fill(prompt)
        with page.expect_response("**/teach/texts"):  # until then the form asks about the texts before
            page.get_by_role("button", name="Write and ask").click()
        expect(page.locator("form.htmx-request")).to_have_count(0)
        for number in range(3):
            expect(page.get_by_role("heading", name="A", exact=True)).to_be_visible()
            if prompt == PROMPT and not number:
                keep(page, "teach")
            asking = page.locator("input[name=asking]")
            before = asking.input_value()
            page.get_by_role("button", name="A is better").click()
            expect(asking).not_to_have_value(before)
            expect(page.get_by_text("Kept.")).to_be_visible()

    expect(page.get_by_text("pairs stored")).to_be_visible()
    expect(page.get_by_text("Weights, and two standard deviations")).to_be_visible()
    expect(page.locator("#profile-head")).to_contain_text("learnt from")  # on the page that was open all the while
    keep(page, "taught")


def test_the_strength_slider_shows_three_texts_as_it_moves(
    page: Page, site: Site, keep: Callable[[Page, str], None]
) -> None:
    page.goto(f"{site.url}/strength")
    page.get_by_label("For the user").fill("ben")
    page.get_by_role("button", name="Write at").click()
    expect(page.locator("[data-strength]:visible")).to_have_count(3)

    slider = page.get_by_role("slider", name="Strength")
    slider.focus()
    slider.press("Home")
    expect(page.locator("[data-strength='0']:visible")).to_have_count(3)
    assert page.locator("[data-strength]:visible").count() == 3
    slider.press("End")
    expect(page.locator("[data-strength='3']:visible")).to_have_count(3)
    keep(page, "strength")
