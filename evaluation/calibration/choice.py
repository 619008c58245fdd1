"""Which setting a model gets, and why. Pure: numbers in, a decision and its reasons out.

Among the settings that leave the texts as good as asking alone does, the one whose texts are most the principle's own;
where the difference to a gentler one is within a standard error, the gentler.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.preferences import Method
from evaluation.calibration.settings import Setting

MOST_REPETITION = 1.2
"""Times that of asking alone; plus what a short list of texts may show by chance: one of 36 that loops is 3 points."""
REPETITION_SLACK = 0.04
MOST_PERPLEXITY = 1.5
"""Times that of asking alone, under the base itself: guided texts are meant to be unlikely there."""
MOST_PERPLEXITY_ELSEWHERE = 1.2
"""The same under another model, which has no such reason."""
MOST_NAMING = 0.15
"""Share of texts beyond that of asking alone."""
LEAST_LENGTH, MOST_LENGTH = 0.5, 2.0
"""Times the words of asking alone."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a setting did to the texts: means over them."""

    setting: Setting
    num_texts: int
    log_odds: float
    """Log-odds of the principle asked for against the others, given the text, by the model itself, in nats per text."""
    log_odds_error: float
    """Its standard error, texts of one prompt taken as kin."""
    reward: float | None
    """Per token, in nats."""
    kl: float | None
    """From the guided to the asking distribution, per token, in nats."""
    surprise: float
    """-log p per token under the base that was told of no principle; its exponential is the perplexity."""
    surprise_elsewhere: float | None
    """The same under another model; None where none was given."""
    repetition: float
    """Share of runs of four words that are repeated."""
    leaks: float
    """Share of texts that repeat what the principles were shown with."""
    naming: float
    """Share of texts that name the principle instead of keeping it, as far as its longer words tell."""
    echoes: float
    """Share of texts that repeat the client's own prompt."""
    num_words: float
    satisfied: float | None = None
    """Share that keeps the principle by the suite's rule, where there is a suite."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The trial that was chosen, and what spoke against the others."""

    trial: Trial
    asking: Trial
    """The best format without guidance: what the chosen one is compared with."""
    reason: str
    refused: tuple[tuple[str, str], ...]
    """Settings that were ruled out, and why."""


def choose(trials: Sequence[Trial]) -> Choice:
    """Decide; the trials must hold at least one of asking alone."""
    asking = max(
        (trial for trial in trials if trial.setting.method is Method.PROMPT),
        key=lambda trial: (-trial.leaks, trial.log_odds),
    )
    faults = [(trial, _fault(trial, asking)) for trial in trials]
    admitted = [trial for trial, fault in faults if fault is None]
    best = max(admitted, key=lambda trial: trial.log_odds, default=asking)
    equals = [trial for trial in admitted if trial.log_odds >= best.log_odds - best.log_odds_error]
    chosen = min(equals, key=lambda trial: (trial.kl or 0.0, trial.setting.strength), default=asking)
    refused = tuple((trial.setting.name, fault) for trial, fault in faults if fault is not None)
    return Choice(chosen, asking, _reason(chosen, asking, best), refused)


def _fault(trial: Trial, asking: Trial) -> str | None:
    """Why its texts are worse than those of asking alone; None where they are not."""
    return next(_faults(trial, asking), None)


def _faults(trial: Trial, asking: Trial) -> Iterator[str]:
    if trial.leaks > 0:
        yield f"{trial.leaks:.0%} of texts repeat what the principles were shown with"
    if trial.naming > asking.naming + MOST_NAMING:
        yield f"{trial.naming:.0%} of texts name the principle (asking alone {asking.naming:.0%})"
    if trial.repetition > MOST_REPETITION * asking.repetition + REPETITION_SLACK:
        yield f"repetition {trial.repetition:.1%} (asking alone {asking.repetition:.1%})"
    worse = math.exp(trial.surprise - asking.surprise)
    if not worse <= MOST_PERPLEXITY:  # what is no number is no fine perplexity either
        yield f"perplexity {worse:.2f} times that of asking alone"
    if trial.surprise_elsewhere is not None and asking.surprise_elsewhere is not None:
        worse = math.exp(trial.surprise_elsewhere - asking.surprise_elsewhere)
        if not worse <= MOST_PERPLEXITY_ELSEWHERE:
            yield f"perplexity under the other model {worse:.2f} times that of asking alone"
    if not LEAST_LENGTH * asking.num_words <= trial.num_words <= MOST_LENGTH * asking.num_words:
        yield f"{trial.num_words:.0f} words a text (asking alone {asking.num_words:.0f})"


def _reason(chosen: Trial, asking: Trial, best: Trial) -> str:
    gain = f"log-odds of the principle {chosen.log_odds:.2f} (asking alone {asking.log_odds:.2f})"
    price = f"perplexity {math.exp(chosen.surprise - asking.surprise):.2f} times that of asking alone"
    if chosen.setting.method is Method.PROMPT:
        return f"No guided setting moved the texts further and left them as good: {gain}."
    if chosen is best:
        return f"Of the settings that leave the texts as good, it moves them furthest: {gain}, {price}."
    return (
        f"Within a standard error of the furthest ({best.setting.name}, {best.log_odds:.2f}) "
        f"and the gentlest of those: {gain}, {price}."
    )
