"""Means with bootstrap intervals. What is drawn again are prompts, each with all its texts: those are kin."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2_000
CONFIDENCE = 0.95
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One value per text, the prompt it belongs to, and how much it counts (1 each, where nothing is said)."""

    values: Sequence[float]
    clusters: Sequence[Hashable]
    sizes: Sequence[float] | None = None

    def sums(self, names: dict[Hashable, int]) -> tuple[_Floats, _Floats]:
        """For each cluster, the weighted sum of its values, and the sum of its weights."""
        indices = np.array([names[cluster] for cluster in self.clusters])
        sizes = np.ones(len(indices)) if self.sizes is None else np.asarray(self.sizes, dtype=float)
        totals = np.bincount(indices, np.asarray(self.values, dtype=float) * sizes, minlength=len(names))
        return totals.astype(float), np.bincount(indices, sizes, minlength=len(names)).astype(float)


@dataclass(frozen=True)
class Estimate:
    """A mean and the interval that holds it in 95 % of resamples."""

    mean: float
    low: float
    high: float

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high < 0

    def exp(self) -> "Estimate":
        """The ratio, where this is the difference of two logarithms."""
        return Estimate(math.exp(self.mean), math.exp(self.low), math.exp(self.high))


def mean(sample: Sample, *, seed: int = 0) -> Estimate:
    """The mean of a sample with its 95 % bootstrap interval, drawn over its clusters."""
    totals, sizes = sample.sums(_names(sample.clusters))
    weights = _weights(len(totals), seed)
    return _estimate(totals.sum() / sizes.sum(), (weights @ totals) / (weights @ sizes))


def difference(sample: Sample, other: Sample, *, seed: int = 0) -> Estimate:
    """How much larger the first mean is than the second; a prompt that both have is drawn for both."""
    names = _names([*sample.clusters, *other.clusters])
    weights = _weights(len(names), seed)
    (totals, sizes), (other_totals, other_sizes) = sample.sums(names), other.sums(names)
    centre = totals.sum() / sizes.sum() - other_totals.sum() / other_sizes.sum()
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may miss every prompt of one side
        resampled = (weights @ totals) / (weights @ sizes) - (weights @ other_totals) / (weights @ other_sizes)
    return _estimate(centre, resampled[np.isfinite(resampled)])


def ratio(sample: Sample, other: Sample, *, seed: int = 0) -> Estimate:
    """How many times the second mean the first is: 1 where both are 0, and infinite where only the second is.

    Resamples in which the second is 0 say nothing and are left out.
    """
    names = _names([*sample.clusters, *other.clusters])
    weights = _weights(len(names), seed)
    (totals, sizes), (other_totals, other_sizes) = sample.sums(names), other.sums(names)
    if other_totals.sum() == 0:
        centre = 1.0 if totals.sum() == 0 else math.inf
        return Estimate(centre, centre, centre)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (totals.sum() / sizes.sum()) / (other_totals.sum() / other_sizes.sum())
        resampled = ((weights @ totals) / (weights @ sizes)) / ((weights @ other_totals) / (weights @ other_sizes))
    return _estimate(centre, resampled[np.isfinite(resampled)])


def _names(clusters: Sequence[Hashable]) -> dict[Hashable, int]:
    return {name: index for index, name in enumerate(dict.fromkeys(clusters))}


def _weights(num_clusters: int, seed: int) -> _Floats:
    """How often each cluster is drawn in each resample: [NUM_RESAMPLES, num_clusters]."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=NUM_RESAMPLES)
    return drawn.astype(float)


def _estimate(centre: float, resampled: _Floats) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(float(centre), float(low), float(high))
