"""How values are written for people: numbers, moments and spans of time. Pure."""

import datetime as dt
from collections.abc import Callable
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

NOTHING = "\u2013"
MINUTE, HOUR, DAY = 60, 3600, 86_400


def number(value: float | None) -> str:
    """With a thin space between thousands; a dash for none."""
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
    """A moment for a `datetime` attribute."""
    return value.isoformat()


def percent(part: float, whole: float) -> str:
    """A share; nothing of nothing is 0 %."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def short(identifier: object) -> str:
    """The end of an id, by which people tell two apart: ids begin with the time."""
    return str(identifier)[-8:]


def part(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")


FILTERS: MappingProxyType[str, Callable[..., Any]] = MappingProxyType(
    {each.__name__: each for each in (number, rate, span, ago, moment, iso, percent, short, part)}
)
