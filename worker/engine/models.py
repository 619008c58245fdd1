"""What was loaded: the models as the engine uses them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from worker.engine.runner import Runner
from worker.engine.streams import Weights
from worker.engine.validation import Limits


@dataclass(frozen=True, slots=True)
class Models:
    """What was loaded."""

    runners: tuple[Runner, ...]
    """One per set of shared weights."""
    weights: Mapping[str, Weights]
    """What the names that streams use stand for."""
    limits: Limits
    eos_token_ids: frozenset[int]
    device: torch.device
    dtype: torch.dtype
