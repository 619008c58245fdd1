"""The calibration as one picture: how far texts move, over what it costs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from evaluation.calibration.choice import Choice, Trial

COLOURS = ("#1f5fa8", "#d1782c", "#3a8f4d", "#8a3fa0")
REFUSED = "#b03030"


def plot(path: Path, trials: Sequence[Trial], choice: Choice) -> None:
    """Log-odds over KL, a line per method and format; crosses are settings that were ruled out, the star was chosen."""
    refused = {name for name, _ in choice.refused}
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
        axes = figure.subplots()
        kinds = dict.fromkeys((trial.setting.method, trial.setting.format.name) for trial in trials if trial.kl)
        for colour, (method, form) in zip(COLOURS * len(kinds), kinds, strict=False):
            line = [one for one in trials if (one.setting.method, one.setting.format.name) == (method, form)]
            line.sort(key=lambda one: one.kl or 0.0)
            kl = [one.kl or 0.0 for one in line]
            axes.plot(kl, [one.log_odds for one in line], color=colour, alpha=0.5, label=f"{method.value}, {form}")
            for one in line:
                mark = "x" if one.setting.name in refused else "o"
                axes.plot(one.kl or 0.0, one.log_odds, mark, color=REFUSED if mark == "x" else colour, markersize=5)
        axes.axhline(choice.asking.log_odds, color="#8c8c8c", linestyle=":", label="asking alone")
        axes.plot(choice.trial.kl or 0.0, choice.trial.log_odds, "*", color="black", markersize=13, label="chosen")
        axes.set(xlabel="KL of each step, nats per token", ylabel="log-odds of the principle, nats per text")
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(path)
