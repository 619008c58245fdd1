"""Files of JSON lines that grow while a run goes on."""

from pathlib import Path


def whole_lines(path: Path) -> list[str]:
    """The lines of the file, none where there is no file; a line that an interrupted run cut off is taken out of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    *whole, rest = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    if rest:
        path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    return whole
