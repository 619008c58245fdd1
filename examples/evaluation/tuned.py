"""The alternative to one PersRM: an adapter of its own for each preference, tuned on that preference's pairs alone."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from examples.demo.corpus import preference_pairs
from examples.demo.train import BASE_NAME
from worker.persrm.pairs import PreferencePair
from worker.persrm.train import PolicySettings, train_policy


@dataclass(frozen=True)
class Tuned:
    """What one of them is made from."""

    principle: str
    num_pairs: int = 512
    pairs_seed: int = 503
    policy: PolicySettings = field(default_factory=lambda: PolicySettings(batch_size=16, seed=509))


def train_tuned(base: Path, out: Path, _work: Path, recipe: Tuned) -> None:
    """Trains by the PersRM's own recipe, on pairs that ask for the one principle only."""
    pairs = [
        PreferencePair.model_validate(asdict(pair))
        for pair in preference_pairs(recipe.pairs_seed, recipe.num_pairs, (recipe.principle,))
    ]
    train_policy(base, pairs, out, recipe.policy, base_name=BASE_NAME)
