"""Which two texts to ask a user about: the pair whose answer is expected to tell most about the weights. Pure.

The answer is modelled as where weights are learnt (`worker.learning.preference_fit`):

    P(first > second) = sigmoid(BETA * u),  u = sum_k w_k * (phi_k(first) - phi_k(second))
    w_k ~ N(mean_k, deviation_k^2)

The weights count as independent: of a fit, deviations are stored, and not how its weights go together. So of two pairs
that tell about the same sum of weights, one may be asked about although the other has been answered.

What is to be learnt is the mutual information of answer and weights (BALD, Houlsby et al. 2011):
`H(E[p]) - E[H(p)]`, in nats. It is large where the outcome is open *because* the weights are uncertain, and 0 for two
texts that all principles hold alike, however open that answer is.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

BETA = 0.1
PRIOR_DEVIATION = 1.0
"""Both as in `worker.learning.preference_fit`; a test holds them equal."""
NUM_POINTS = 81
REACH = 5.0
"""Standard deviations to either side that the integral covers."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What is known of a user's weights, one per principle."""

    means: Sequence[float]
    deviations: Sequence[float]


@dataclass(frozen=True, slots=True)
class ChosenPair:
    """Two texts, by their places, and how much their comparison is expected to tell."""

    first: int
    second: int
    information: float
    """In nats; the most that a yes-or-no answer can tell is log 2."""


def expected_information(delta: Sequence[float], weights: Weights) -> float:
    """What the answer is expected to tell, in nats, of two texts whose features differ by `delta`."""
    triples = list(zip(delta, weights.means, weights.deviations, strict=True))
    mean = BETA * math.fsum(difference * mean for difference, mean, _ in triples)
    deviation = BETA * math.sqrt(math.fsum((difference * own) ** 2 for difference, _, own in triples))
    if not deviation:
        return 0.0
    step = 2 * REACH / (NUM_POINTS - 1)
    points = [step * index - REACH for index in range(NUM_POINTS)]
    densities = [math.exp(-(point**2) / 2) for point in points]
    chances = [_sigmoid(mean + deviation * point) for point in points]
    total = math.fsum(densities)
    chance = math.fsum(map(_times, densities, chances)) / total
    expected = math.fsum(map(_times, densities, map(_entropy, chances))) / total
    return max(0.0, _entropy(chance) - expected)


def most_informative(
    features: Sequence[Sequence[float]], weights: Weights, asked: Collection[frozenset[int]] = ()
) -> ChosenPair | None:
    """The pair of texts that tells most, of those not `asked` about; None where no pair would tell anything."""
    pairs = [
        ChosenPair(first, second, expected_information(_difference(features[first], features[second]), weights))
        for first, second in combinations(range(len(features)), 2)
        if frozenset((first, second)) not in asked
    ]
    best = max(pairs, key=lambda pair: pair.information, default=None)
    return best if best is not None and best.information > 0 else None


def _difference(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(first, second, strict=True)]


def _times(one: float, other: float) -> float:
    return one * other


def _entropy(chance: float) -> float:
    """The entropy of a yes-or-no answer, in nats."""
    return -math.fsum(part * math.log(part) for part in (chance, 1 - chance) if part > 0)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
