"""What was loaded: the models as the engine uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from worker.engine.checkpoints.generation import GenerationDefaults
from worker.engine.runner import Runner
from worker.engine.streams import StreamWeights
from worker.engine.validation import Limits


@dataclass(frozen=True, slots=True)
class EngineModels:
    """The models that one engine decodes with, proved at load, and what their checkpoints say."""

    runners: tuple[Runner, ...]
    """One per set of shared weights."""
    weights: Mapping[str, StreamWeights]
    """The weights that each name stands for which a stream may use."""
    limits: Limits
    eos_token_ids: frozenset[int]
    device: torch.device
    dtype: torch.dtype
    generation_defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    """What the base's checkpoint asks for where a request states nothing."""
    warnings: tuple[str, ...] = ()
    """What was found at load and is no reason to refuse: a sentence each."""

    @property
    def num_logits(self) -> int:
        """Of a base stream: the rows of the largest head. Requests may name the tokens that all models have."""
        return max(runner.head.vocab_size for runner in self.runners if runner.proposes)
