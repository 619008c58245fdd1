"""Sphinx's extension of this project: before it reads anything, the reference is written anew from the code."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from docs.extension import api_page, cli_page, metrics_page, settings_page

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REFERENCE = Path(__file__).parents[1] / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page.render,
    "cli.md": cli_page.render,
    "metrics.md": metrics_page.render,
    "settings.md": settings_page.render,
}
"""File name in `docs/reference` -> what stands in it, as Markdown."""


def write_reference(_app: "Sphinx | None" = None) -> None:
    """Write every page whose text has changed."""
    for name, render in PAGES.items():
        page, text = REFERENCE / name, render()
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def setup(app: "Sphinx") -> dict[str, bool]:
    """Called by Sphinx; the answer says what it may do with this extension."""
    app.connect("builder-inited", write_reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
