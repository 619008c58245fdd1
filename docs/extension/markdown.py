"""Tables and notes in Markdown. Knows nothing of what is documented."""

from collections.abc import Iterable, Sequence

WRITTEN = "<!-- Written by `make docs` from the code; edit the code. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; none where there are no rows."""
    lines = ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]
    if not lines:
        return []
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines, ""]


def cell(text: str) -> str:
    """`text` as it can stand in a table: one line, its bars escaped."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;" if "`" not in text else "<").split())


def code(text: object) -> str:
    """`text` as code; nothing for an empty one."""
    return f"`{text}`" if str(text) else ""
