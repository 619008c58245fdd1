"""How values are written for people: numbers, moments and spans of time. Pure."""

import datetime as dt
from collections.abc import Callable
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from api.http.errors import LineError

NOTHING = "\u2013"
MINUS = "\u2212"
MINUTE, HOUR, DAY = 60, 3600, 86_400
KIBI = 1024
WRAPPERS = frozenset({"", "defaults", "items", "variants", "pairs"})
"""Parts of a pointer that no form shows."""
LABELS: MappingProxyType[str, str] = MappingProxyType(
    {
        "strength": "Strength",
        "strengths": "Strengths",
        "max_tokens": "Most tokens",
        "max_kl": "Budget",
        "weight": "Weight",
        "principles": "Principle",
        "examples": "Example",
        "attributes": "Attribute",
        "tags": "Tags",
        "text": "Text",
        "name": "Name",
        "model": "Model",
        "method": "Method",
        "holdout": "Hold out",
        "prompt": "Prompt",
        "user_id": "User id",
        "audience": "For whom",
        "exclude": "Except",
        "url": "Address",
        "description": "Description",
    }
)


def number(value: float | None) -> str:
    """A number in three digits, or whole with a thin space between thousands; a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def rate(value: float | None) -> str:
    """Items per second, or per minute where that is less than one."""
    if value is None:
        return NOTHING
    return f"{number(value)}/s" if value >= 1 else f"{number(value * MINUTE)}/min"


def span(seconds: float | None) -> str:
    """A span of time in its two largest units: "2 h 05 min"."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def ago(moment: dt.datetime | None) -> str:
    """How long ago a moment was, roughly: a page that stays open says the same for a while."""
    if moment is None:
        return NOTHING
    seconds = max((dt.datetime.now(dt.UTC) - moment).total_seconds(), 0)
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def moment(value: dt.datetime | None) -> str:
    """A moment in UTC, to the second."""
    return NOTHING if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def iso(value: dt.datetime) -> str:
    """A moment as HTML's `datetime` attribute has it."""
    return value.isoformat()


def percent(part: float, whole: float) -> str:
    """`part` of `whole` in percent, without decimals; nothing of nothing is 0 %."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def short(identifier: object) -> str:
    """The last 8 characters of an id, by which people tell two apart: ids begin with the time."""
    return str(identifier)[-8:]


def part(text: str) -> str:
    """A text quoted as one part of a URL's path."""
    return quote(text, safe="")


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, as a true minus; what rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else text.replace("-", MINUS)


def size(num_bytes: float | None) -> str:
    """An amount of memory in its largest unit: "1.5 GiB"."""
    if num_bytes is None:
        return NOTHING
    amount, unit = float(num_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < KIBI or unit == "TiB":
            break
        amount /= KIBI
    return f"{amount:.3g} {unit}"


def place(pointer: str) -> str:
    """Which field of a form a JSON pointer means, as its label says: "Principle 4, weight"; empty for the whole."""
    said: list[str] = []
    for part in pointer.strip("/").split("/"):
        if part.isdecimal() and said:
            said[-1] = f"{said[-1]} {int(part) + 1}"
        elif part not in WRAPPERS:
            label = LABELS.get(part, part)
            said.append(label.lower() if said else label)
    return ", ".join(said)


def told(error: LineError) -> str:
    """An error as a sentence that begins with its field's label."""
    label = place(error.pointer)
    return f"{label}: {error.message}" if label else error.message


FILTERS: MappingProxyType[str, Callable[..., Any]] = MappingProxyType(
    {each.__name__: each for each in (number, rate, span, ago, moment, iso, percent, short, part, signed, size, told)}
)
