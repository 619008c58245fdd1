import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.engine.models import Family, change, llama, save, save_adapter
from worker.engine import load_engine
from worker.engine.checkpoints.adapters import TRAIN_LORA
from worker.engine.errors import AdapterError
from worker.engine.layers.lora import MERGE_IT


@pytest.fixture
def base(families: dict[str, Family]) -> str:
    return families["llama"].base


def refusal(base: str, policy: str) -> AdapterError:
    with pytest.raises(AdapterError) as refused:
        load_engine(base, policy)
    assert "\n" not in str(refused.value)
    return refused.value


ADAPTERS_BEYOND_LOW_RANK: dict[str, dict[str, object]] = {
    "use_dora": {"use_dora": True},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "biases": {"bias": "all"},
    "embed_tokens": {"target_modules": ["embed_tokens"]},
    "embed_tokens.weight": {"target_modules": [], "target_parameters": ["embed_tokens.weight"]},
}


@pytest.mark.parametrize("name", ADAPTERS_BEYOND_LOW_RANK)
def test_an_adapter_that_is_more_than_a_low_rank_update(base: str, tmp_path: Path, name: str) -> None:
    policy = save_adapter(llama(seed=0), tmp_path, seed=1, **ADAPTERS_BEYOND_LOW_RANK[name])

    error = refusal(base, policy)

    assert error.code == "adapter_unsupported"
    assert name in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init_lora_weights": "pissa"}, "changes the base weights: save it as plain LoRA"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "changes the base weights: merge it"),
        ({"alora_invocation_tokens": [3, 4]}, f"more than a low-rank update: {TRAIN_LORA}"),
        ({"target_modules": ["nothing_here"]}, "nothing_here"),
        ({"target_modules": ["q_proj"]}, "made for another model"),
        ({"target_modules": ["q_proj", "v_proj", "down_proj", "o_proj"]}, "made for another model"),
    ],
    ids=["pissa", "loftq", "from some tokens on", "no such module", "too many tensors", "too few tensors"],
)
def test_an_adapter_that_does_not_fit_its_base(
    families: dict[str, Family],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    words: str,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)  # as where it is not installed: PEFT reads no LoftQ without it
    policy = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    change(policy / "adapter_config.json", **changes)

    error = refusal(families["llama"].base, str(policy))

    assert error.code == "adapter_unsupported"
    assert words in str(error)


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        (
            {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
            MERGE_IT,
        ),
        ({"peft_type": "ADALORA", "target_modules": ["q_proj"], "total_step": 10}, MERGE_IT),
        ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, TRAIN_LORA),
    ],
    ids=["scales", "a kind of LoRA", "a prompt, which nobody can merge"],
)
def test_an_adapter_of_another_type(base: str, tmp_path: Path, config: dict[str, object], advice: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))

    said = f"it is of type {config['peft_type']}, and only LoRA is stacked: {advice}."
    assert str(refusal(base, str(tmp_path))).endswith(said)


def test_an_adapter_made_for_another_base(base: str, tmp_path: Path) -> None:
    for name, shape in {"wider": {"hidden_size": 48}, "deeper": {"num_hidden_layers": 3}}.items():
        policy = save_adapter(llama(seed=0, **shape), tmp_path / name, seed=1)

        assert refusal(base, policy).code == "adapter_unsupported"


def test_an_adapter_without_its_weights(families: dict[str, Family], tmp_path: Path) -> None:
    policy = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    (policy / "adapter_model.safetensors").unlink()

    assert refusal(families["llama"].base, str(policy)).code == "adapter_unsupported"


def test_an_adapter_whose_training_went_wrong(families: dict[str, Family], tmp_path: Path) -> None:
    """One NaN among its weights: it was the base of which was said that its logits differ by inf%."""
    policy = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    tensors = load_file(policy / "adapter_model.safetensors")
    name = next(iter(tensors))
    tensors[name][0, 0] = torch.nan
    save_file(tensors, policy / "adapter_model.safetensors", metadata={"format": "pt"})

    error = refusal(families["llama"].base, str(policy))

    assert f"not finite, such as {name}" in str(error)


def test_embeddings_beside_an_update_of_the_head_may_repeat_the_bases_and_not_change_them(tmp_path: Path) -> None:
    """PEFT saves them without being asked wherever the head is adapted."""
    model = llama(seed=0, tie_word_embeddings=False)
    base = save(model, tmp_path / "base")
    embeddings = {
        "base_model.model.model.embed_tokens.weight": model.get_parameter("model.embed_tokens.weight").detach().clone(),
        "base_model.model.lm_head.base_layer.weight": model.get_parameter("lm_head.weight").detach().clone(),
    }
    policy = save_adapter(model, tmp_path / "policy", seed=1, target_modules=["q_proj", "lm_head"])
    file = tmp_path / "policy" / "adapter_model.safetensors"
    updates = load_file(file)

    save_file(updates | embeddings, file)
    assert load_engine(base, policy).weights == ("base", "policy")

    embeddings["base_model.model.model.embed_tokens.weight"][5] += 1
    save_file(updates | embeddings, file)
    assert "embed_tokens.weight and 0 more tensors that are not low-rank updates: merge it" in str(
        refusal(base, policy)
    )
