"""Pictures of the dashboard as it is today: those of the documentation, or of every page to look at.

Run it beside a stack that serves a model, from the root of this repository:

    padserve up &
    python -m examples.pictures                  # docs/images
    python -m examples.pictures --every FOLDER   # every page at three widths, light and dark

Needs a Chromium, and playwright, which is installed for development. It stores three users and three jobs.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from padserve import Client, Principle
from padserve.client.discovery import find_server

IMAGES = Path("docs/images")
WIDTHS = {"wide": 1280, "tablet": 768, "phone": 390}
HEIGHT = 860
PATIENCE_MS = 300_000
USERS = {
    "ada": {"Write in a formal style.": 1.0, "Be brief.": 0.6},
    "ben": {"Write playfully, with a joke.": 1.2, "Use short sentences.": 0.8},
    "chloe": {"Use short sentences.": 1.0},
}
PROMPTS = (
    "Write two sentences about our new green tea.",
    "Invite {first_name} to the garden party on Saturday.",
    "Tell {first_name} that the library has the book again.",
)
JOBS = {"Spring letter": 24, "Garden party": 40, "Library reminder": 60}
TRIED = {"Strengths": "0.5, 1", "Most tokens": "32"}
PAGES = {
    "jobs": "/",
    "new": "/jobs/new",
    "campaign": "/jobs/new?kind=campaign",
    "profiles": "/profiles",
    "profile": "/profiles/ben",
    "history": "/profiles/ben/history",
    "teach": "/profiles/ben/teach",
    "strength": "/strength",
    "models": "/models",
    "account": "/account",
}


def fill(client: Client) -> list[str]:
    """Users, and jobs of which the first is finished; returns the jobs' ids."""
    for user_id, principles in USERS.items():
        weighted = [Principle(text, weight) for text, weight in principles.items()]
        client.profiles.put(user_id, principles=weighted, attributes={"first_name": user_id.title()}, learn=True)
    users = sorted(USERS)
    job_ids = []
    for (name, num_items), prompt in zip(JOBS.items(), PROMPTS, strict=True):
        items = [
            {
                "custom_id": f"{name.split()[0].lower()}-{number}",
                "user_id": users[number % len(users)],
                "prompt": prompt.format(first_name=users[number % len(users)].title()),
            }
            for number in range(num_items)
        ]
        job = client.submit(items, name=name, defaults={"max_tokens": 40})
        job_ids.append(job.id)
        if len(job_ids) == 1:
            client.wait(job.id)
    return job_ids


def signed_in(browser: Browser, url: str, key: str) -> BrowserContext:
    """A browser's session."""
    context = browser.new_context(viewport={"width": WIDTHS["wide"], "height": HEIGHT})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{url}/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    page.close()
    return context


def previewed(page: Page, url: str) -> None:
    """A preview whose texts are all there, with what was decided at a token that guidance changed."""
    page.goto(f"{url}/profiles/ben/preview")
    page.get_by_label("Prompt").fill(PROMPTS[0])
    for label, value in TRIED.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator(".token-text")).to_have_count(4, timeout=PATIENCE_MS)
    changed = page.locator(".token-text .changed")
    if changed.count():
        changed.last.focus()


def take_for_docs(page: Page, url: str, job_ids: list[str], folder: Path) -> None:
    """The pictures that the documentation shows."""
    page.goto(url)
    time.sleep(5)  # until a rate is known
    page.screenshot(path=folder / "dashboard-jobs.png")
    page.goto(f"{url}/jobs/{job_ids[0]}")
    expect(page.locator(".result").first).to_be_visible()
    page.screenshot(path=folder / "dashboard-job.png")
    previewed(page, url)
    page.screenshot(path=folder / "dashboard-preview.png", full_page=True)


def take_every(page: Page, url: str, job_ids: list[str], folder: Path) -> None:
    """Every page, at every width, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    previewed(page, url)
    take(page, "preview", folder)
    for name, path in {**PAGES, "job": f"/jobs/{job_ids[0]}", "running": f"/jobs/{job_ids[-1]}"}.items():
        page.goto(url + path)
        take(page, name, folder)


def take(page: Page, name: str, folder: Path) -> None:
    """One page, at every width, light and dark."""
    for width_name, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
            page.screenshot(path=folder / f"{name}-{width_name}-{theme}.png", full_page=True)
    page.set_viewport_size({"width": WIDTHS["wide"], "height": HEIGHT})
    page.emulate_media(color_scheme="light")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--every", type=Path, metavar="FOLDER", help="pictures of every page, into this folder")
    every: Path | None = parser.parse_args().every
    url, key = find_server(os.environ)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with Client(url, key) as client:
        job_ids = fill(client)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = signed_in(browser, url, key)
        page = context.new_page()
        if every is None:
            take_for_docs(page, url, job_ids, IMAGES)
        else:
            take_every(page, url, job_ids, every)
        browser.close()


if __name__ == "__main__":
    main()
