"""Folders that hold an adapter where a whole model is meant, or both."""

import shutil
from pathlib import Path

import pytest

from tests.engine.models import Family
from tests.engine.requests import decode, mixed_batch, plain, prompt, token_ids
from worker.engine import ModelError, Request, load_engine
from worker.engine.checkpoints.checkpoint import Checkpoint


@pytest.fixture
def both(families: dict[str, Family], tmp_path: Path) -> str:
    """Whole weights, and an adapter that was left beside them."""
    folder = shutil.copytree(families["llama"].base, tmp_path / "both")
    for file in Path(families["llama"].policy).glob("adapter_*"):
        shutil.copy(file, folder)
    return str(folder)


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr("worker.engine.loading.assembly.pack", lambda _: None)
        monkeypatch.setattr("worker.engine.loading.assembly.fuse", lambda _: None)


@pytest.mark.usefixtures("packing")
def test_a_base_is_its_whole_weights_and_the_adapter_beside_them_is_named(
    both: str, families: dict[str, Family]
) -> None:
    requests = [Request(i, plain(prompt(i, 5))) for i in range(4)]

    engine = load_engine(both)

    expected = decode(load_engine(families["llama"].base), requests)
    assert token_ids(decode(engine, requests)) == token_ids(expected)
    assert engine.warnings == (f"{both!r} holds whole weights and an adapter_config.json: the adapter is not used.",)


@pytest.mark.usefixtures("packing")
def test_the_adapter_beside_the_weights_can_be_the_policy(both: str, families: dict[str, Family]) -> None:
    requests = [r for r in mixed_batch() if "reference" not in {stream.weights for stream in r.streams}]

    engine = load_engine(both, both)

    family = families["llama"]
    assert token_ids(decode(engine, requests)) == token_ids(decode(load_engine(family.base, family.policy), requests))
    assert any("the adapter is used, on the base's weights" in warning for warning in engine.warnings)


def test_a_policy_whose_adapter_was_merged_is_a_whole_model(both: str, families: dict[str, Family]) -> None:
    (Path(both) / "adapter_model.safetensors").unlink()

    engine = load_engine(families["llama"].reference, both)

    assert len(engine._models.runners) == 2  # noqa: SLF001 (what was loaded)


def test_an_adapter_alone_is_no_base(families: dict[str, Family]) -> None:
    with pytest.raises(ModelError) as refused:
        load_engine(families["llama"].policy)

    assert refused.value.code == "adapter_as_base"
    assert "holds an adapter and no whole model: give the model it was trained on" in str(refused.value)


def test_the_files_that_define_a_model(both: str, families: dict[str, Family]) -> None:
    for name in ("tokenizer.json", "chat_template.jinja", "README.md"):
        (Path(both) / name).write_text("{}")

    def names(path: str, *, is_base: bool) -> set[str]:
        return {file.name for file in Checkpoint.find(path, is_base=is_base).files()}

    shared = {"tokenizer.json", "chat_template.jinja"}
    model = {"config.json", "generation_config.json", "model.safetensors"}
    assert names(both, is_base=True) == model | shared
    # The weights beside an adapter may hold its value head.
    adapter = {"adapter_config.json", "adapter_model.safetensors", "model.safetensors"}
    assert names(both, is_base=False) == adapter | shared
    assert names(families["llama"].base, is_base=False) == model
