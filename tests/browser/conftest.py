"""The dashboard in Debian's Chromium, on a stack of real processes that serves the demo's model.

One browser, one stack and one signed-in context for all tests here. Each page that a test opens is watched: an error in
the console, an exception, a violation of the content security policy or a failed request fails the test.
`--screenshots FOLDER` keeps pictures.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from sqlalchemy import select, update

from db import schema
from db.models import Item, Job
from db.queries import claims, keys
from db.registry_models import Model
from db.session import Database
from domain.attempts import Outcome
from padserve import Client
from tests.builders import a_job, preference
from tests.system.processes import KEY, ROOT, Stack, a_forking_stack

DEMO = ROOT / "examples" / "demo" / "model"
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
NO_CHROMIUM = "There is no Chromium: apt-get install chromium."
PATIENCE_MS = 30_000
"""Processors are shared, and a model writes."""
WIDTHS = {"wide": (1280, 860), "phone": (390, 844)}
SERIOUS = {"serious", "critical"}
RULES: dict[str, dict[str, object]] = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},
}
"""What axe looks for in each theme: a second one changes colours and nothing else."""
ITEMS_PER_TRANSACTION = 1000

Check: TypeAlias = Callable[[Page, str], None]

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Site:
    """The dashboard, and what is behind it."""

    stack: Stack
    database: Database
    url: str
    tenant_id: uuid.UUID

    def client(self) -> Client:
        return Client(self.url, KEY)

    def key(self, *scopes: str, name: str = "browser") -> tuple[uuid.UUID, str]:
        """A new key's id and text."""
        with self.database.transaction() as session:
            key, text = keys.create_key(session, self.tenant_id, name, scopes)
            return key.id, text

    def ended_job(self, num_items: int, *, error: str | None = None, name: str | None = None) -> uuid.UUID:
        """A job whose items have ended, each with a short text or with this error; no worker has seen it."""
        unseen = "e" * 64
        given = [preference("formal")] * num_items
        prompts = ["Write about green tea."] * num_items
        job_id = a_job(self.database, given, prompts=prompts, model="base", model_digest=unseen, name=name)
        owner = uuid.uuid4()
        for _ in range(0, num_items, ITEMS_PER_TRANSACTION):
            with self.database.transaction() as session:
                limit = ITEMS_PER_TRANSACTION
                claimed = claims.claim(session, owner=owner, model_digest=unseen, limit=limit, lease_seconds=600)
                text = None if error else "A short text."
                code = "non_finite_logits" if error else None
                ends = [
                    Outcome(each.item_id, each.attempt, text=text, error_code=code, error_message=error)
                    for each in claimed
                ]
                claims.save(session, owner=owner, outcomes=ends)
        return job_id

    def failed_job(self, name: str = "Failed letter") -> uuid.UUID:
        """A job of two items that failed, and that the worker can write."""
        job_id = self.ended_job(2, error="The logits were not finite.", name=name)
        with self.database.transaction() as session:
            digest = session.scalars(select(Model.digest)).one()
            for table, key in ((Job, Job.id), (Item, Item.job_id)):
                session.execute(update(table).where(key == job_id).values(model_digest=digest))
        return job_id

    def revoke(self, key_id: uuid.UUID) -> None:
        with self.database.transaction() as session:
            assert keys.revoke_key(session, key_id)


@dataclass
class Watched:
    """What a browser complained of. A test that expects a complaint takes it out."""

    complaints: list[str] = field(default_factory=list)
    is_away: bool = False
    """The server is: requests fail, and the browser says so."""

    def hear(self, page: Page) -> None:
        def of_console(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and not self.is_away:
                self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

        page.on("console", of_console)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With the demo's model loaded and two users."""
    folder = tmp_path_factory.mktemp("site")
    database = Database(f"sqlite:///{folder}/padserve.db")
    schema.upgrade(database)
    with database.transaction() as session:
        tenant_id = keys.create_tenant(session, "default").id
        keys.create_key(session, tenant_id, "test", ["admin"], secret=KEY)
    settings = {"model": DEMO / "base", "policy": DEMO / "policy", "device": "cpu", "num_slots": 4}
    with a_forking_stack(folder, f"sqlite:///{folder}/padserve.db", **settings) as stack:
        stack.start_what_is_missing()
        site = Site(stack, database, f"http://127.0.0.1:{stack.api_port}", tenant_id)
        with site.client() as client:
            client.profiles.put("ada", principles=["formal"], tags=["newsletter"], attributes={"first_name": "Ada"})
            client.profiles.put("ben", principles=["playful", "concise"], attributes={"first_name": "Ben"})
        yield site
    database.dispose()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail(NO_CHROMIUM)
        pytest.skip(NO_CHROMIUM)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    assert watched.complaints == []


@pytest.fixture(scope="package")
def signed_in(browser: Browser, site: Site) -> dict[str, object]:
    """What a browser keeps that has signed in with the key that may do everything."""
    context = browser.new_context()
    sign_in(context.new_page(), site.url, KEY)
    state = context.storage_state()
    context.close()
    return dict(state)


@pytest.fixture
def context(browser: Browser, signed_in: dict[str, object]) -> Iterator[BrowserContext]:
    width, height = WIDTHS["wide"]
    context = browser.new_context(storage_state=signed_in, viewport={"width": width, "height": height})  # type: ignore[arg-type] # as it was given
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, watched: Watched) -> Page:
    """A page of somebody who is signed in."""
    page = context.new_page()
    watched.hear(page)
    return page


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Check:
    """Checks a page as it is: no serious finding of axe, in both themes, and nothing wider than a phone.

    With `--screenshots` its pictures are kept.
    """
    folder = request.config.getoption("--screenshots")

    def check(page: Page, name: str) -> None:
        for theme, options in RULES.items():
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
            found = Axe().run(page, options=options)
            serious = [each for each in found.response["violations"] if each["impact"] in SERIOUS]
            assert serious == [], f"{name}, {theme}: {[(each['id'], each['nodes'][0]['html']) for each in serious]}"
            if folder:
                page.screenshot(path=Path(folder, f"{name}-{theme}.png"), full_page=True)
        page.emulate_media(color_scheme="light")
        width, height = WIDTHS["phone"]
        page.set_viewport_size({"width": width, "height": height})
        if folder:
            page.screenshot(path=Path(folder, f"{name}-phone.png"), full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than a phone"
        width, height = WIDTHS["wide"]
        page.set_viewport_size({"width": width, "height": height})

    return check


def sign_in(page: Page, url: str, key: str) -> None:
    page.goto(url)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
