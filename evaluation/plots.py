"""The report's plots. Numbers in, PNG files out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.bootstrap import Estimate
from evaluation.curves import Curve
from evaluation.measures import Summary
from evaluation.mixture import Sweep
from evaluation.results import Confusion

SEEN, HELD_OUT, TOPIC, GUIDE, QUIET = "#1f5fa8", "#d1782c", "#3a8f4d", "#8a3fa0", "#8c8c8c"
DARK_CELL = 0.6
_STYLE: dict[Any, Any] = {  # matplotlib names every key in a type of its own
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.dpi": 130,
}


def plot_strengths(path: Path, curve: Curve) -> None:
    """Shares over strength, and the guide's reward on a second axis; where more is too much."""
    with _figure(path, 7.2, 4.0) as axes:
        settings = [point.setting for point in curve.points]
        _band(axes, settings, [point.satisfied for point in curve.points], "seen principles satisfied", SEEN)
        unseen = [(point.setting, point.unseen) for point in curve.points if point.unseen]
        if unseen:
            _band(axes, [setting for setting, _ in unseen], [share for _, share in unseen], "held out", HELD_OUT)
        _band(axes, settings, [point.topic for point in curve.points], "topic kept", TOPIC)
        axes.set(xlabel="strength", ylabel="share of texts, %", ylim=(0, 103), xscale="symlog", xticks=settings)
        axes.set_xticks(settings, [f"{setting:g}" for setting in settings], fontsize=7)
        axes.axvline(settings[curve.best], color=QUIET, linestyle=":", label=f"chosen: {settings[curve.best]:g}")
        if curve.falls is not None:
            axes.axvline(settings[curve.falls], color="#b03030", linestyle="--", label="rule falls, reward rises")
        if curve.success_falls is not None and curve.success_falls != curve.falls:
            label = "rule and topic fall, reward rises"
            axes.axvline(settings[curve.success_falls], color="#b03030", linestyle="-.", label=label)
        right = axes.twinx()
        rewarded = [point for point in curve.points if point.reward]
        right.plot(
            [point.setting for point in rewarded],
            [point.reward.mean for point in rewarded if point.reward],
            color=GUIDE,
            linestyle="--",
            marker=".",
            label="guide's own reward (right)",
        )
        right.set(ylabel="reward of a text, nats")
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        _legend(axes, right)


def plot_price(path: Path, curve: Curve) -> None:
    """Satisfaction against KL, one point per strength."""
    with _figure(path, 5.2, 3.6) as axes:
        points = [point for point in curve.points if point.setting > 0 and point.kl]
        kl = [point.kl.mean for point in points if point.kl]
        _band(axes, kl, [point.satisfied for point in points], "seen principles satisfied", SEEN)
        _band(axes, kl, [point.success for point in points], "satisfied and on topic", TOPIC)
        for x, point in zip(kl, points, strict=True):
            axes.annotate(
                f"{point.setting:g}",
                (x, 100 * point.success.mean),
                textcoords="offset points",
                xytext=(0, -11),
                fontsize=6,
                ha="center",
            )
        axes.set(xlabel="KL to the prompted base, nats a token", ylabel="share of texts, %", xscale="log")
        _legend(axes)


def plot_candidates(path: Path, curve: Curve) -> None:
    """Plot the share of kept principles over the number of candidates k."""
    with _figure(path, 5.2, 3.4) as axes:
        settings = [point.setting for point in curve.points]
        _band(axes, settings, [point.satisfied for point in curve.points], "seen principles satisfied", SEEN)
        unseen = [(point.setting, point.unseen) for point in curve.points if point.unseen]
        if unseen:
            _band(axes, [setting for setting, _ in unseen], [share for _, share in unseen], "held out", HELD_OUT)
        _band(axes, settings, [point.topic for point in curve.points], "topic kept", TOPIC)
        axes.set(xlabel="candidates k", ylabel="share of texts, %", ylim=(0, 103), xscale="log")
        axes.set_xticks(settings, [f"{setting:g}" for setting in settings])
        axes.minorticks_off()
        _legend(axes)


def plot_confusion(path: Path, confusion: Confusion) -> None:
    """Guided by (rows) against judged as (columns); the unguided base is the last row."""
    names = confusion.principles
    rows = [*confusion.shares, confusion.unguided]
    with _figure(path, 1.6 + 0.62 * len(names), 1.4 + 0.5 * len(rows)) as axes:
        axes.imshow(rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(rows)), [*names, "unguided"])
        axes.set(xlabel=f"kept, according to {confusion.judged_by} (%)", ylabel="guided by")
        axes.grid(visible=False)
        for y, row in enumerate(rows):
            for x, share in enumerate(row):
                colour = "white" if share > DARK_CELL else "black"
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)


def plot_sweep(path: Path, sweep: Sweep) -> None:
    """Shares of texts that keep either principle, over the weight of the second."""
    with _figure(path, 5.2, 3.4) as axes:
        first, second = sweep.principles
        _band(axes, sweep.shares, sweep.first, first, SEEN)
        _band(axes, sweep.shares, sweep.second, second, HELD_OUT)
        axes.set(xlabel=f"weight of {second} (the rest is {first}'s)", ylabel="share of texts, %", ylim=(-2, 103))
        right = axes.twinx()
        words = [estimate.mean for estimate in sweep.words]
        right.plot(sweep.shares, words, color=QUIET, linestyle="--", label="words (right)")
        right.set(ylabel="words a text", ylim=(0, None))
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        _legend(axes, right)


def plot_methods(path: Path, summaries: Sequence[Summary]) -> None:
    """Every method's satisfaction of seen and held-out principles, side by side."""
    with _figure(path, 7.2, 0.8 + 0.42 * len(summaries)) as axes:
        places = range(len(summaries))
        _bars(axes, [summary.seen for summary in summaries], -0.2, "seen by the PersRM", SEEN)
        _bars(axes, [summary.unseen for summary in summaries], 0.2, "held out", HELD_OUT)
        axes.set_yticks(places, [summary.method for summary in summaries])
        axes.invert_yaxis()
        axes.set(xlabel="texts that do what was asked, %", xlim=(0, 103))
        _legend(axes)


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Axes]:
    """A figure of its own, outside pyplot's state; written when the block ends."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.add_subplot()
        figure.savefig(path, metadata={"Software": None})


def _legend(*sides: Axes) -> None:
    """One legend below the plot for all of its axes: nothing lies over a curve."""
    handles = [handle for axes in sides for handle in axes.get_legend_handles_labels()[0]]
    sides[0].figure.legend(handles=handles, fontsize=7, loc="outside lower center", ncols=3)


def _band(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], label: str, colour: str) -> None:
    axes.plot(x, [100 * estimate.mean for estimate in estimates], color=colour, marker="o", markersize=3, label=label)
    lows, highs = ([100 * getattr(estimate, end) for estimate in estimates] for end in ("low", "high"))
    axes.fill_between(x, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _bars(axes: Axes, estimates: Sequence[Estimate | None], offset: float, label: str, colour: str) -> None:
    shown = [(place + offset, estimate) for place, estimate in enumerate(estimates) if estimate is not None]
    axes.barh(
        [place for place, _ in shown],
        [100 * estimate.mean for _, estimate in shown],
        height=0.38,
        color=colour,
        label=label,
        xerr=_errors([estimate for _, estimate in shown]),
        error_kw={"elinewidth": 0.8},
    )


def _errors(estimates: Sequence[Estimate]) -> list[list[float]]:
    return [
        [100 * max(0.0, estimate.mean - estimate.low) for estimate in estimates],
        [100 * max(0.0, estimate.high - estimate.mean) for estimate in estimates],
    ]
