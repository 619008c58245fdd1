import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.evaluation.trained import trained


@dataclass(frozen=True)
class Recipe:
    seed: int


class Trainer:
    """Writes its count of trainings; fails where it is told to."""

    def __init__(self) -> None:
        self.num_trainings = 0
        self.fails = False

    def __call__(self, _base: Path, out: Path, _work: Path, _recipe: Recipe) -> None:
        self.num_trainings += 1
        out.mkdir()
        out.joinpath("weights").write_text(str(self.num_trainings))
        if self.fails:
            raise RuntimeError("the machine went away")


def test_a_model_is_trained_once_and_again_only_by_another_recipe(tmp_path: Path) -> None:
    trainer = Trainer()

    paths = [trained(tmp_path, tmp_path / "model", Recipe(seed), trainer) for seed in (1, 1, 2, 2)]

    assert trainer.num_trainings == 2
    assert set(paths) == {str(tmp_path / "model")}
    assert (tmp_path / "model" / "weights").read_text() == "2"
    assert json.loads((tmp_path / "model" / "training.json").read_text())["recipe"] == {"seed": 2}


def test_another_base_has_its_own_models(tmp_path: Path) -> None:
    """As after `make demo-model`: an adapter of the weights before would be measured on those of now."""
    trainer, base = Trainer(), tmp_path / "base"
    base.mkdir()

    for weights in ("first", "first", "second"):
        base.joinpath("model.safetensors").write_text(weights)
        trained(base, tmp_path / "model", Recipe(1), trainer)

    assert trainer.num_trainings == 2


def test_a_training_that_fails_leaves_nothing_that_looks_trained(tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.fails = True
    with pytest.raises(RuntimeError, match="went away"):
        trained(tmp_path, tmp_path / "model", Recipe(1), trainer)

    trainer.fails = False
    trained(tmp_path, tmp_path / "model", Recipe(1), trainer)

    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "2"
