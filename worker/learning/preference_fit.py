"""A user's principle weights from pairs of texts of which one was preferred: Bradley-Terry, with a prior.

    P(chosen > rejected) = sigmoid(BETA * sum_k w_k * delta_k),  delta_k = phi_k(chosen) - phi_k(rejected)
    phi_k(y) = sum_t log pi_policy(y_t | x, principle k, y_<t) - log pi_base(y_t | x, y_<t)

(Bradley and Terry 1952; the implicit reward of DPO, Rafailov et al. 2023; weights as in PAD's R = w . phi.) Pure
arithmetic on arrays: knows neither texts nor models.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

BETA = 0.1
"""Utility per nat of log-ratio, as in the training of the policy (DPO's beta)."""
PRIOR_DEVIATION = 1.0
"""Prior deviation of a weight from the stated one; 1 is the usual weight, so few pairs do not turn a profile over."""
MAX_WEIGHT = 10.0
"""What a profile takes; the least is 0."""
_MAX_STEPS = 200
_TOLERANCE = 1e-9

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights and how sure they are."""

    weights: tuple[float, ...]
    """Between 0 and MAX_WEIGHT; their sum is given, as far as that allows: feedback says how the guidance is shared
    out, and its strength is a setting of its own."""
    deviations: tuple[float, ...]
    """Standard deviations of the weights (Laplace's approximation), at most MAX_WEIGHT: nothing is known then."""
    agreement: float
    """Share of the pairs that the weights rank as the user did."""


def fit_weights(deltas: Array, prior: Array, total: float) -> Fitted | None:
    """The most probable weights [K] of pairs [n, K] under a Gaussian prior around [K], all at least 0, scaled to a sum.

    None where everything is 0: the pairs speak against every principle.
    """
    weights = _maximum(deltas, prior)
    if not weights.any():
        return None
    curvature = _curvature(deltas, weights)
    deviations = np.sqrt(np.diag(np.linalg.inv(curvature))) * (total / weights.sum())
    return Fitted(
        weights=tuple(float(weight) for weight in _shared_out(weights, total)),
        deviations=tuple(float(deviation) for deviation in deviations.clip(max=MAX_WEIGHT)),
        agreement=float((deltas @ weights > 0).mean()),
    )


def _shared_out(weights: Array, total: float) -> Array:
    """In proportion and with this sum; what is above MAX_WEIGHT goes to the others that are not 0."""
    shared: Array = weights * (total / weights.sum())
    while (shared > MAX_WEIGHT).any():
        full = shared >= MAX_WEIGHT
        shared[full] = MAX_WEIGHT
        left = total - shared[full].sum()
        if not shared[~full].any():
            break
        shared[~full] *= left / shared[~full].sum()
    return shared


def log_posterior(deltas: Array, prior: Array, weights: Array) -> float:
    """The log-posterior of weights [K], up to a constant, for deltas [N, K]; concave in the weights."""
    margins = BETA * (deltas @ weights)
    return float(-np.logaddexp(0, -margins).sum() - (((weights - prior) / PRIOR_DEVIATION) ** 2).sum() / 2)


def gradient(deltas: Array, prior: Array, weights: Array) -> Array:
    """The gradient [K] of the log-posterior at these weights."""
    surprise = _sigmoid(-BETA * (deltas @ weights))
    slope: Array = BETA * (deltas.T @ surprise) - (weights - prior) / PRIOR_DEVIATION**2
    return slope


def _curvature(deltas: Array, weights: Array) -> Array:
    """Minus the Hessian [K, K], which the prior keeps positive definite whatever the pairs say."""
    probability = _sigmoid(BETA * (deltas @ weights))
    of_pairs = deltas.T @ (deltas * (probability * (1 - probability))[:, None])
    curvature: Array = BETA**2 * of_pairs + np.eye(deltas.shape[1]) / PRIOR_DEVIATION**2
    return curvature


def _maximum(deltas: Array, prior: Array) -> Array:
    """Newton's method on the coordinates that no bound holds, halving a step until it climbs."""
    weights = np.clip(prior, 0, MAX_WEIGHT)
    for _ in range(_MAX_STEPS):
        slope = gradient(deltas, prior, weights)
        free = ~(((weights <= 0) & (slope < 0)) | ((weights >= MAX_WEIGHT) & (slope > 0)))
        if not free.any() or np.abs(slope[free]).max() < _TOLERANCE:
            break
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(_curvature(deltas, weights)[np.ix_(free, free)], slope[free])
        here, share = log_posterior(deltas, prior, weights), 1.0
        while share > _TOLERANCE:
            there = np.clip(weights + share * step, 0, MAX_WEIGHT)
            if log_posterior(deltas, prior, there) > here:
                break
            share /= 2
        else:
            break  # no step climbs in this precision
        weights = there
    return weights


def _sigmoid(x: Array) -> Array:
    """Without overflow on either side."""
    value: Array = np.exp(-np.logaddexp(0, -x))
    return value
