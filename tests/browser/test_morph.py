"""New markup written into what is there: it ends as it was asked for, and what stands for the same stays the same."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

MORPH = Path(__file__).parents[2] / "api" / "dashboard" / "static" / "morph.js"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content("<main></main>")
        page.add_script_tag(path=MORPH)
        yield page


def morphed(page: Page, before: str, after: str) -> tuple[str, str]:
    """What `after` became in the place of `before`, and what a browser makes of it by itself."""
    became, asked = page.evaluate(
        """([before, after]) => {
             const target = document.createElement("main");
             target.innerHTML = before;
             morph(target, after);
             const asked = document.createElement("main");
             asked.innerHTML = after;
             return [target.innerHTML, asked.innerHTML];
           }""",
        [before, after],
    )
    return became, asked


def test_whatever_was_there_what_was_asked_for_is_there_afterwards(page: Page) -> None:
    dice = random.Random(20261128)
    for _ in range(500):
        became, asked = morphed(page, some_markup(dice), some_markup(dice))
        assert became == asked


def some_markup(dice: random.Random, depth: int = 3) -> str:
    """Lists of nested elements and texts; some have ids, each at most once."""
    ids = [f"i{number}" for number in range(8)]
    dice.shuffle(ids)
    return _children(dice, depth, ids)


def _children(dice: random.Random, depth: int, ids: list[str]) -> str:
    made = []
    for _ in range(dice.randrange(5)):
        if depth == 0 or dice.random() < 0.3:
            made.append(dice.choice(["tea", " ", "\n", "<!-- note -->", "garden"]))
            continue
        name = dice.choice(["div", "section", "button"])
        own = f' id="{ids.pop()}"' if ids and dice.random() < 0.4 else ""
        looks = f' class="{dice.choice("abc")}"' if dice.random() < 0.5 else ""
        inside = dice.choice(["", "A", "B"]) if name == "button" else _children(dice, depth - 1, ids)
        made.append(f"<{name}{own}{looks}>{inside}</{name}>")
    return "".join(made)


@pytest.mark.parametrize(
    "after",
    [
        '<div id="new">n</div><div><button id="b">B</button></div>',
        '<p>first</p><p>second</p><div class="x"><i>1</i><button id="b" class="y">B!</button></div>',
        '<div><span id="other">o</span><button id="b">B</button></div><div>without</div>',
    ],
    ids=["behind a new one", "behind texts, changed", "beside another"],
)
def test_a_button_that_has_the_focus_keeps_it(page: Page, after: str) -> None:
    page.evaluate(
        """() => { document.querySelector("main").innerHTML = '<div>a</div><div><button id="b">B</button></div>'; }"""
    )
    page.focus("#b")

    page.evaluate("""(after) => morph(document.querySelector("main"), after)""", after)

    assert page.evaluate("document.activeElement.id") == "b"


def test_what_a_person_has_opened_stays_open_and_what_is_to_be_kept_is_not_touched(page: Page) -> None:
    page.evaluate(
        """() => { document.querySelector("main").innerHTML =
             '<details id="d"><summary>s</summary>1</details><p id="k" hx-preserve="true">mine</p>'; }"""
    )
    page.evaluate("document.querySelector('details').open = true")

    page.evaluate(
        """() => morph(document.querySelector("main"),
             '<details id="d"><summary>s</summary>2</details><p id="k" hx-preserve="true">theirs</p>')"""
    )

    assert page.evaluate("document.querySelector('details').open")
    assert page.inner_text("details").endswith("2")
    assert page.inner_text("#k") == "mine"
