"""Ten invented authors, who write about the same topics in ways of their own. Knows the files; no model.

Written for this purpose; no author is a person. The first texts are the examples that a model is shown, the others are
what attribution knows of the author. Every author has a text on each topic, in the same order: what the examples are
about says nothing of who wrote them, and no topic of theirs is one of the references'.
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "texts"
NUM_EXAMPLES = 4
TOPICS = (
    *("a late parcel", "a new bakery", "care of a fern", "a membership that ends"),
    *("a refund", "an appointment", "a lost password", "a sale of shoes"),
    *("why bread rises", "a new timetable", "overdue books", "albums in an app"),
)


class TextsError(ValueError):
    """An author's file does not have one text for each topic."""


@dataclass(frozen=True)
class Author:
    """One way to write."""

    name: str
    style: str
    """For the reader of the report; no model and no judge sees it."""
    examples: tuple[str, ...]
    references: tuple[str, ...]


def read_authors(folder: Path = FOLDER) -> tuple[Author, ...]:
    """All authors, by name; raises TextsError."""
    return tuple(_read(path) for path in sorted(folder.glob("*.txt")))


def _read(path: Path) -> Author:
    """A line that begins with `#` and says what the style is, then the texts, a blank line apart."""
    style, *texts = path.read_text("utf-8").strip().split("\n\n")
    if not style.startswith("# ") or len(texts) != len(TOPICS):
        raise TextsError(f"{path} has {len(texts)} texts behind its first line; {len(TOPICS)} are wanted.")
    return Author(path.stem, style.removeprefix("# "), tuple(texts[:NUM_EXAMPLES]), tuple(texts[NUM_EXAMPLES:]))
