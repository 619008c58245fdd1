"""Weighted coins and dice."""

import random
from collections.abc import Sequence


def happens(rng: random.Random, share: float) -> bool:
    """True in `share` of all calls."""
    return rng.random() < share


def habitual(rng: random.Random, options: Sequence[str]) -> str:
    """One of the options, the earlier the more often (1/rank): writers have habits."""
    return rng.choices(options, weights=[1 / rank for rank in range(1, len(options) + 1)])[0]
