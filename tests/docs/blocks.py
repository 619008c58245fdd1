"""The code blocks of a page: which there are, in which language, and which are only to be read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = tuple(sorted(page for page in DOCS.rglob("*.md") if "decisions" not in page.parts))
GUIDES = (
    ROOT / "README.md",
    DOCS / "quickstart.md",
    *sorted((DOCS / "how-to").glob("*.md")),
    DOCS / "explanation" / "method.md",
)
"""Pages whose shell and Python blocks are run, in this order."""
_BLOCK = re.compile(
    r"(?P<why><!-- not run: [^\n]+ -->\n)?^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """One block, and where its first line is."""

    page: Path
    line: int
    language: str
    text: str
    is_run: bool

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(page, line, found["language"], found["text"], found["why"] is None)


def prose_of(page: Path) -> str:
    """The page without its blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))
