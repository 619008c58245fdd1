"""What is to be evaluated, and how. Needs no torch: command lines are read before what takes seconds to load."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.model.card import find_card
from worker.texts.formats import PAD, Format


@dataclass(frozen=True)
class EvaluatedModels:
    """Folders or hub ids; policy and reference may be adapters on the base."""

    base: str
    policy: str | None = None
    reference: str | None = None

    @property
    def format(self) -> Format:
        """How their card shows principles; as PAD's released policies were trained where there is no card."""
        card = find_card(self.base, self.policy)
        return PAD if card is None else card.format


@dataclass(frozen=True)
class Plan:
    """Everything that decides what an evaluation measures."""

    models: EvaluatedModels
    suite: Path
    out: Path
    """The report; plots and numbers go to a folder beside it, of the same name without the ending."""
    pairs: Path | None = None
    judge: str | None = None
    language_model: str | None = None
    other_bases: Mapping[str, str] = field(default_factory=dict)
    tuned: Mapping[str, str] = field(default_factory=dict)
    """By principle: an adapter that was tuned for it alone."""
    num_seeds: int = 3
    num_prompts: int = 200
    """Test prompts of each seed, for unguided, prompt only and guided."""
    num_control_prompts: int = 70
    """Test prompts of each seed, for everything that these are compared with, and for combinations."""
    num_side_prompts: int = 100
    """Test prompts of the first seed, for the weights of `mixture`, other bases, and adapters of one preference."""
    num_validation_prompts: int = 30
    num_scored_prompts: int = 25
    """Test prompts of the first seed whose texts other models score, which costs more than writing them."""
    max_tokens: int = 120
    device: str = "auto"
    command: str = "padserve eval"
    """What the report says it was made by."""

    @property
    def seeds(self) -> range:
        """What prompts and wordings are drawn by."""
        return range(self.num_seeds)
