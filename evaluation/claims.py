"""Verdicts: which claims the numbers bear out. Pure functions of estimates; nothing here knows what was hoped for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from evaluation.bootstrap import Estimate

GOAL_SEEN = 0.95
GOAL_UNSEEN = 0.85
GOAL_UNSEEN_RATIO = 2.0
GOAL_TOPIC = 0.95
GOAL_PERPLEXITY_RATIO = 1.3
NUM_OTHER_BASES = 3
MARGIN = 0.02
"""A share this much lower counts as no worse."""


class Verdict(StrEnum):
    """What the numbers say of a claim."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_TESTED = "not tested"


class Goal(StrEnum):
    """Whether a number was reached."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Claim:
    """A claim, what the numbers say of it, and which numbers."""

    text: str
    verdict: Verdict
    because: str


@dataclass(frozen=True)
class Reached:
    """A goal and how far it was reached."""

    text: str
    goal: Goal
    measured: str


def points(estimate: Estimate) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * estimate.mean:+.1f} points ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"


def share(estimate: Estimate) -> str:
    """A share in percent."""
    return f"{100 * estimate.mean:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def gains_everywhere(
    text: str, gains: Mapping[str, Sequence[Estimate]], levels: Mapping[str, str] | None = None
) -> Claim:
    """Holds where every gain of every name lies above zero; names the ones that do not, with their levels."""
    if not gains:
        return Claim(text, Verdict.NOT_TESTED, "The suite has none of these.")
    failing = [name for name, estimates in gains.items() if not all(each.is_above_zero for each in estimates)]
    rows = "; ".join(f"{name} {' and '.join(map(points, estimates))}" for name, estimates in gains.items())
    if failing:
        named = ", ".join(f"{name} ({levels[name]})" if levels else name for name in failing)
        return Claim(text, Verdict.DOES_NOT_HOLD, f"Not for {named}. {rows}.")
    return Claim(text, Verdict.HOLDS, f"{rows}.")


def other_bases(text: str, gains: Mapping[str, Estimate]) -> Claim:
    """Holds where enough other bases were steered, each beyond chance."""
    if not gains:
        return Claim(text, Verdict.NOT_TESTED, "No other base was given.")
    rows = "; ".join(f"{name} {points(gain)}" for name, gain in gains.items())
    steered = [name for name, gain in gains.items() if gain.is_above_zero]
    if len(steered) >= NUM_OTHER_BASES and len(steered) == len(gains):
        return Claim(text, Verdict.HOLDS, f"{rows}.")
    return Claim(text, Verdict.DOES_NOT_HOLD, f"{len(steered)} of {len(gains)} bases were steered. {rows}.")


def no_worse(text: str, ours_over_theirs: Estimate | None) -> Claim:
    """Holds where the whole interval lies above a loss of two points."""
    if ours_over_theirs is None:
        return Claim(text, Verdict.NOT_TESTED, "No adapter of a single preference was given.")
    verdict = Verdict.HOLDS if ours_over_theirs.low > -MARGIN else Verdict.DOES_NOT_HOLD
    return Claim(text, verdict, f"{points(ours_over_theirs)}; {MARGIN * 100:.0f} points less would count as no worse.")


def at_most(text: str, measured: Estimate | None, limit: float, also: str = "") -> Claim:
    """Holds where a ratio's mean is within the limit."""
    if measured is None:
        return Claim(text, Verdict.NOT_TESTED, "No independent language model was given.")
    verdict = Verdict.HOLDS if measured.mean <= limit else Verdict.DOES_NOT_HOLD
    return Claim(text, verdict, f"{measured.mean:.2f} ({measured.low:.2f} to {measured.high:.2f}). {also}".strip())


def diagonal(text: str, gains: Mapping[str, Mapping[str, float]]) -> Claim:
    """Holds where guiding by each principle raises that principle's share more than any other's."""
    off = [name for name, row in gains.items() if max(row, key=lambda other, row=row: row[other]) != name]  # type: ignore[misc]
    if off:
        named = "; ".join(f"{name} raises {max(gains[name], key=lambda o, n=name: gains[n][o])} most" for name in off)  # type: ignore[misc]
        return Claim(text, Verdict.DOES_NOT_HOLD, f"{named}.")
    return Claim(text, Verdict.HOLDS, f"All {len(gains)} principles.")


def all_equal(text: str, num_equal: int, num_texts: int) -> Claim:
    """Holds where every text is the same."""
    verdict = Verdict.HOLDS if num_equal == num_texts else Verdict.DOES_NOT_HOLD
    return Claim(text, verdict, f"{num_equal} of {num_texts} texts are equal.")


def all_monotone(text: str, shapes: Mapping[str, str], monotone: str) -> Claim:
    """Holds where every curve has the wanted shape."""
    if not shapes:
        return Claim(text, Verdict.NOT_TESTED, "The suite names no opposites.")
    verdict = Verdict.HOLDS if all(shape == monotone for shape in shapes.values()) else Verdict.DOES_NOT_HOLD
    return Claim(text, verdict, "; ".join(f"{name}: {shape}" for name, shape in shapes.items()) + ".")


def goal_share(text: str, measured: Estimate | None, least: float) -> Reached:
    """Met where the mean share is at least that."""
    if measured is None:
        return Reached(text, Goal.NOT_MEASURED, "")
    return Reached(text, Goal.MET if measured.mean >= least else Goal.MISSED, share(measured))


def goal_unseen(text: str, guided: Estimate | None, prompted: Estimate | None) -> Reached:
    """Met at a high share, or at a multiple of what asking alone gets."""
    if guided is None or prompted is None:
        return Reached(text, Goal.NOT_MEASURED, "")
    met = guided.mean >= GOAL_UNSEEN or guided.mean >= GOAL_UNSEEN_RATIO * prompted.mean
    return Reached(text, Goal.MET if met else Goal.MISSED, f"{share(guided)}, prompt only {share(prompted)}")


def goal_at_most(text: str, measured: Estimate | None, limit: float) -> Reached:
    """Met where the mean ratio is within the limit."""
    if measured is None:
        return Reached(text, Goal.NOT_MEASURED, "")
    shown = f"{measured.mean:.2f} ({measured.low:.2f} to {measured.high:.2f})"
    return Reached(text, Goal.MET if measured.mean <= limit else Goal.MISSED, shown)
