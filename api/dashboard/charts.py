"""Charts as numbers: where lines and bars of an SVG are. Pure; what they look like is the templates' business."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.states import ItemState

WIDTH, HEIGHT = 600.0, 140.0
MAX_BARS = 60
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
"""Seconds that a bar may stand for."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """How a job went: a bar for each stretch of time, and the line of all that has ended."""

    bars: Sequence[Bar]
    line: str
    """The points of a polyline."""
    most_per_second: float
    bucket_seconds: int
    seconds: float
    num_ended: int


def bucket_seconds(seconds: float) -> int:
    """How long a bar stands for, so that there are at most `MAX_BARS`."""
    wanted = seconds / MAX_BARS
    return next((step for step in STEPS if step >= wanted), math.ceil(wanted / STEPS[-1]) * STEPS[-1])


def progress_chart(
    ends: Mapping[tuple[int, ItemState], int], *, since: dt.datetime, until: dt.datetime, total: int
) -> Chart:
    """From how many ended when and how."""
    seconds = max((until - since).total_seconds(), 1.0)
    step = bucket_seconds(seconds)
    last = max([int(seconds // step), *(number for number, _ in ends)])
    width = WIDTH / (last + 1)
    heights = {number: sum(ends.get((number, state), 0) for state in ItemState) for number in range(last + 1)}
    most = max(heights.values(), default=0) or 1
    bars, points, ended = [], [f"0,{HEIGHT:.1f}"], 0
    for number in range(last + 1):
        top = HEIGHT
        for state in (ItemState.SUCCEEDED, ItemState.FAILED, ItemState.CANCELLED):
            count = ends.get((number, state), 0)
            if count:
                height = HEIGHT * count / most
                top -= height
                bars.append(Bar(number * width + width * 0.1, top, width * 0.8, height, state, f"{count} {state}"))
        ended += heights[number]
        points.append(f"{(number + 1) * width:.1f},{HEIGHT - HEIGHT * ended / max(total, 1):.1f}")
    return Chart(bars, " ".join(points), most / step, step, seconds, ended)
