import json
from pathlib import Path

import pytest

from examples.demo.decoding import DemoModels
from examples.demo.evaluate import GUIDED
from examples.demo.train import CARD, MODEL, Recipe, train
from examples.demo.train_base import BaseSettings
from worker.model.card import CARD_NAME, read_card
from worker.persrm.train import PolicySettings

TINY = Recipe(
    base=BaseSettings(
        num_careful=32,
        num_mixed=16,
        num_tokenizer_examples=32,
        vocab_size=300,
        hidden_size=16,
        intermediate_size=24,
        num_layers=1,
        num_heads=2,
        batch_size=16,
    ),
    policy=PolicySettings(rank=2, batch_size=8),
    num_pairs=16,
    num_requests=4,
    max_tokens=3,
)


def test_the_whole_recipe_leaves_models_that_load_and_a_card(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, TINY)

    models = DemoModels.load(tmp_path / "base", tmp_path / "policy", max_tokens=3)
    texts = models.write(["Write a tip about tea.", "Write a tip."], [("formal",), ("warm",)], GUIDED)
    shown = read_card(tmp_path / "policy" / CARD_NAME)
    adapter = json.loads((tmp_path / "policy" / "adapter_config.json").read_text())
    card = (tmp_path / "README.md").read_text()

    assert len(texts) == 2
    assert shown == CARD == read_card(MODEL / "policy" / CARD_NAME)
    assert adapter["base_model_name_or_path"] == "examples/demo/model/base"
    assert '"num_pairs": 16' in card
    assert f"| {GUIDED.name} |" in card
    assert {path.name for path in tmp_path.iterdir()} == {"base", "policy", "README.md"}
    assert "== PersRM" in capfd.readouterr().out
