"""The demo models' whole recipe, from nothing: corpus, base model, preference pairs, PersRM, measurement, model card.

`python -m examples.demo.train [OUT]` writes `base/`, `policy/` and `README.md` under OUT (`examples/demo/model`).
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from domain.preferences import Method
from examples.demo.card import write_card
from examples.demo.corpus import preference_pairs
from examples.demo.decoding import DemoModels
from examples.demo.evaluate import held_out_requests, measure
from examples.demo.readers import STRENGTH
from examples.demo.train_base import BaseSettings, train_base
from worker.model.card import Card
from worker.persrm.pairs import read_pairs
from worker.persrm.train import PolicySettings, train_policy
from worker.texts.formats import PAD

MODEL = Path(__file__).parent / "model"
# What the adapter calls its base: resolved from the root of a checkout, never an absolute path.
BASE_NAME = "examples/demo/model/base"
CARD = Card(
    format=PAD,
    method=Method.PAD,
    strength=STRENGTH,
    chosen={
        "by": "make eval",
        "why": "The strength that the evaluation chose on the policy's own validation prompts; see docs/evaluation.md.",
    },
)
"""The policy's card: what is served where nobody says otherwise."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out."""

    base: BaseSettings = field(default_factory=BaseSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    num_pairs: int = 4_800
    pairs_seed: int = 13
    num_requests: int = 216
    requests_seed: int = 5
    max_tokens: int = 120


def train(out: Path, recipe: Recipe) -> None:
    """All stages, each with its time; nothing but the models and their card is left behind."""
    minutes: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        work = Path(folder)
        with _stage("base model", minutes):
            train_base(out / "base", work, recipe.base)
        with _stage("preference pairs", minutes):
            _write_pairs(work / "pairs.jsonl", recipe)
        with _stage("PersRM", minutes):
            pairs = read_pairs(work / "pairs.jsonl")
            train_policy(out / "base", pairs, out / "policy", recipe.policy, base_name=BASE_NAME)
            CARD.write(out / "policy")
    with _stage("measurement", minutes):
        models = DemoModels.load(out / "base", out / "policy", recipe.max_tokens)
        results = []
        for result in measure(models, held_out_requests(recipe.requests_seed, recipe.num_requests)):
            print(f"  {result.method:34} {result.asked:12} {result.satisfied:6.1%}", flush=True)
            results.append(result)
    write_card(out, asdict(recipe), results, minutes, models)
    print(f"done in {sum(minutes.values()):.1f} minutes: {out}")


@contextmanager
def _stage(name: str, minutes: dict[str, float]) -> Iterator[None]:
    print(f"== {name}", flush=True)
    start = time.monotonic()
    yield
    minutes[name] = (time.monotonic() - start) / 60
    print(f"== {name}: {minutes[name]:.1f} minutes", flush=True)


def _write_pairs(path: Path, recipe: Recipe) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for pair in preference_pairs(recipe.pairs_seed, recipe.num_pairs):
            lines.write(json.dumps(asdict(pair)) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(2)
    train(Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL, Recipe())
