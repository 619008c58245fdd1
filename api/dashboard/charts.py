"""Charts as numbers: where lines and bars of an SVG are. Pure; what they look like is the templates' business."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.states import ItemState

WIDTH, HEIGHT = 600.0, 140.0
MAX_BARS = 60
STEPS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
"""Seconds that a bar may stand for. Each is a multiple of the one before, so that what was counted can be summed up."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of an SVG, in its units; `kind` is the state that its class names."""

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
    """The chart of a job from how many items ended in each stretch of time, and how."""
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


UNKNOWN = 3.0
"""Two standard deviations from which on a weight counts as not known: usual weights lie between 0 and this."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A weight and how sure it is, from 0 to `WIDTH`; two standard deviations to either side."""

    name: str
    weight: float
    deviation: float
    at: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether the deviation is small enough to say anything of the weight."""
        return 2 * self.deviation < UNKNOWN


def intervals(names: Sequence[str], weights: Sequence[float], deviations: Sequence[float]) -> list[Interval]:
    """An interval for each weight, all on one scale from 0 to the largest weight that is still likely."""
    ends = (weight + min(2 * deviation, UNKNOWN) for weight, deviation in zip(weights, deviations, strict=True))
    most = max(ends, default=0)
    scale = WIDTH / max(most, 1.0)
    return [
        Interval(
            name,
            weight,
            deviation,
            at=weight * scale,
            low=max(0.0, weight - 2 * deviation) * scale,
            high=min(WIDTH, (weight + 2 * deviation) * scale),
        )
        for name, weight, deviation in zip(names, weights, deviations, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Point:
    """One setting that was tried, at its place in the plot."""

    name: str
    kind: str
    """The method: the first word of the name."""
    x: float
    y: float
    kl: float
    log_odds: float
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Scatter:
    """What settings gained over what they cost, with the marks of both axes as places and numbers."""

    points: Sequence[Point]
    kinds: Sequence[str]
    across: Sequence[tuple[float, float]]
    up: Sequence[tuple[float, float]]


MARKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
MAX_MARKS = 6


def scatter(tried: Sequence[tuple[str, float, float]], chosen: str) -> Scatter:
    """The plot of settings, each its name, KL and log-odds; a margin of a twentieth on each side.

    KL is drawn by its square root: the settings that one chooses among are close to 0, and a few others far away.
    """
    most_kl = max((kl for _, kl, _ in tried), default=0) or 1.0
    gains = [gain for _, _, gain in tried]
    least, most = min([0.0, *gains]), max([0.0, *gains])
    height = (most - least) or 1.0

    def across(kl: float) -> float:
        return WIDTH * (0.05 + 0.9 * math.sqrt(max(kl, 0.0) / most_kl))

    def up(gain: float) -> float:
        return 2 * HEIGHT * (0.95 - 0.9 * (gain - least) / height)

    points = [
        Point(name, name.partition(",")[0], across(kl), up(gain), kl, gain, is_chosen=name == chosen)
        for name, kl, gain in tried
    ]
    shown = [mark for mark in MARKS if most_kl / 50 < mark <= most_kl]
    step = next((mark for mark in MARKS if height / mark <= MAX_MARKS), height)
    rises = [step * number for number in range(math.ceil(least / step), math.floor(most / step) + 1)]
    return Scatter(
        points,
        kinds=sorted({point.kind for point in points}),
        across=[(across(mark), mark) for mark in (0.0, *shown[-MAX_MARKS:])],
        up=[(up(mark), mark) for mark in rises],
    )
