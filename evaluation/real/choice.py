"""How settings are chosen on validation prompts, and strengths matched at equal KL. Numbers in, numbers out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.calibration.choice import MOST_PERPLEXITY
from evaluation.real.judged import Summary

MOST_TOPIC_LOSS = 0.1
MOST_ECHO = 0.03
MOST_REPETITION = 0.05
"""Share of repeated runs of words beyond prompt-only's."""
STRENGTH_LIMITS = (0.02, 10.0)


def faults(summary: Summary) -> list[str]:
    """What makes an arm's texts unfit for users, on average. Wider than the goals: few texts decide here.

    The perplexity is under the model itself, with the limit of `padserve calibrate`.
    """
    ratio = summary.perplexity_ratio
    over = {
        "topic": summary.topic_change.mean < -MOST_TOPIC_LOSS,
        "repetition": summary.repetition_change.mean > MOST_REPETITION,
        "perplexity": ratio is not None and ratio.mean > MOST_PERPLEXITY,
        "echo": summary.echoes.mean > MOST_ECHO,
    }
    return [name for name, is_over in over.items() if is_over]


def best(summaries: Sequence[Summary]) -> int:
    """The place of the arm with the largest effect among those with the fewest faults."""
    return max(range(len(summaries)), key=lambda place: (-len(faults(summaries[place])), summaries[place].effect.mean))


@dataclass(frozen=True)
class Point:
    """A strength and the mean KL per token that it costs."""

    strength: float
    kl: float


def strength_at(points: Sequence[Point], kl: float) -> float:
    """The strength whose KL this is: between two points, and beyond the last two, a power law.

    KL grows with the square of a small strength, and more slowly later on: a line between logarithms.
    """
    known = sorted((point for point in points if point.kl > 0), key=lambda point: point.strength)
    if not known or kl <= 0:
        return STRENGTH_LIMITS[0]
    if len(known) == 1:
        return _limited(known[0].strength * math.sqrt(kl / known[0].kl))
    upper = next((place for place in range(1, len(known) - 1) if known[place].kl >= kl), len(known) - 1)
    low, high = known[upper - 1], known[upper]
    slope = math.log(high.strength / low.strength) / math.log(high.kl / low.kl) if high.kl > low.kl else 0.5
    return _limited(low.strength * (kl / low.kl) ** slope)


def _limited(strength: float) -> float:
    return min(max(strength, STRENGTH_LIMITS[0]), STRENGTH_LIMITS[1])
