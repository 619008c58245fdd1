"""A model is what its files hold: not where they lie, not what else lies there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest

from worker.engine.checkpoints.files import VOCABULARIES
from worker.model.identity import model_digest

HUB_ID = "someone/model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with what transformers reads of a model, and the card."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "padserve.json"):
        (folder / name).write_text(json.dumps({"file": name}))
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"adapter")
    return folder


def test_the_same_files_elsewhere_are_the_same_model(model: Path, policy: Path, tmp_path: Path) -> None:
    before = model_digest(str(model), str(policy))

    shutil.copytree(model, tmp_path / "renamed")
    shutil.move(policy, tmp_path / "elsewhere")

    assert model_digest(str(tmp_path / "renamed"), str(tmp_path / "elsewhere")) == before
    assert len(before) == 64


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "padserve.json"),
        *("model.safetensors", "chat_template.jinja", "value_head.safetensors", "special_tokens_map.json"),
        "additional_chat_templates/tool.jinja",
    ],
)
def test_another_content_of_any_file_that_counts_is_another_model(model: Path, name: str) -> None:
    before = model_digest(str(model))

    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("another")

    assert model_digest(str(model)) != before


@pytest.mark.parametrize("name", VOCABULARIES)
def test_whatever_file_the_engine_reads_a_vocabulary_from_counts(model: Path, name: str) -> None:
    (model / "tokenizer.json").unlink()
    (model / name).write_text("one")
    before = model_digest(str(model))

    (model / name).write_text("another")

    assert model_digest(str(model)) != before


@pytest.mark.parametrize("name", ["README.md", "optimizer.pt", "trainer_state.json", "pytorch_model.bin", "vocab.json"])
def test_what_is_not_read_does_not_count(model: Path, name: str) -> None:
    before = model_digest(str(model))

    (model / name).write_text("another")

    assert model_digest(str(model)) == before


def test_a_policy_and_where_it_stands_make_another_model(model: Path, policy: Path) -> None:
    digests = {model_digest(str(model)), model_digest(str(model), str(policy)), model_digest(str(policy), str(model))}
    (policy / "adapter_model.safetensors").write_bytes(b"trained on")

    assert len({*digests, model_digest(str(model), str(policy))}) == 4


def test_a_guide_is_another_model_than_the_same_files_as_policy_and_brings_no_card(model: Path, policy: Path) -> None:
    guided = model_digest(str(model), guide=str(policy))
    (policy / "padserve.json").write_text("of the guide, which is not asked for its card")

    assert len({guided, model_digest(str(model)), model_digest(str(model), str(policy))}) == 3
    assert model_digest(str(model), guide=str(policy)) == guided


def test_the_card_that_counts_lies_beside_the_policy_or_where_it_is_said(model: Path, policy: Path) -> None:
    of_base_alone = model_digest(str(model))
    with_policy = model_digest(str(model), str(policy))
    (model / "padserve.json").write_text("another")
    elsewhere = model.parent / "card.json"
    elsewhere.write_text("another")

    assert model_digest(str(model)) != of_base_alone
    assert model_digest(str(model), str(policy)) == with_policy
    assert model_digest(str(model), str(policy), str(elsewhere)) != with_policy


def test_every_shard_counts(model: Path) -> None:
    (model / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    for number in (1, 2):
        (model / f"model-{number}.safetensors").write_text(str(number))
    before = model_digest(str(model))

    (model / "model-2.safetensors").write_text("another")

    assert model_digest(str(model)) != before


def test_a_hub_id_is_what_its_files_in_the_cache_hold(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(model, repository / "snapshots" / ("0" * 40))

    assert model_digest(HUB_ID) == model_digest(str(model))


def test_an_adapter_that_a_base_was_left_with_does_not_count_and_beside_a_base_it_does(
    model: Path, policy: Path
) -> None:
    before = model_digest(str(model)), model_digest(str(policy), str(model))

    shutil.copytree(policy, model, dirs_exist_ok=True)

    assert model_digest(str(model)) == before[0]
    assert model_digest(str(policy), str(model)) != before[1]


def test_large_files_are_never_read_whole(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError

    read_bytes: Callable[..., bytes] = refuse
    monkeypatch.setattr(Path, "read_bytes", read_bytes)

    assert model_digest(str(model))
