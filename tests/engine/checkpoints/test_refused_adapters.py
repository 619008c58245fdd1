import json
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType, get_peft_model
from safetensors.torch import load_file, save_file

from tests.engine.models import Family, change, llama, peft_on_newer_transformers, save, save_adapter
from tests.engine.requests import decode, mixed_batch, token_ids
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


_CONFIG_SAYS_OTHERWISE = "are missing or too many) says otherwise: copy or download both again"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init_lora_weights": "pissa"}, "changes the base weights: save it as plain LoRA"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "changes the base weights: merge it"),
        ({"alora_invocation_tokens": [3, 4]}, f"more than a low-rank update: {TRAIN_LORA}"),
        ({"target_modules": ["nothing_here"]}, "nothing_here"),
        ({"target_modules": ["q_proj"]}, _CONFIG_SAYS_OTHERWISE),
        ({"target_modules": ["q_proj", "v_proj", "down_proj", "o_proj"]}, _CONFIG_SAYS_OTHERWISE),
        ({"target_modules": r".*\.attention\.w[qv]"}, "(target_modules: .*\\.attention\\.w[qv]) says otherwise: copy"),
        ({"target_modules": r".*\.(q_proj"}, "no regular expression: copy"),
        ({"r": 8}, "(r=8) says otherwise: copy"),
        ({"r": 0}, "states r=0, which is no rank: copy"),
        ({"rank_pattern": {"q_proj": 0}}, "states rank_pattern['q_proj']=0, which is no rank: copy"),
        ({"lora_alpha": None}, "states lora_alpha=None, which is no scale: copy"),
        ({"alpha_pattern": {"q_proj": float("nan")}}, "states alpha_pattern['q_proj']=nan, which is no scale: copy"),
        ({"bias": None}, "states bias=None, which PEFT does not know: copy"),
    ],
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
        ({"peft_type": "LOHA", "target_modules": ["q_proj"]}, MERGE_IT),
        ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, TRAIN_LORA),
        ({"peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 1}, TRAIN_LORA),
        ({"peft_type": "LILY", "target_modules": ["q_proj"]}, TRAIN_LORA),
        ({"peft_type": "POLY", "target_modules": ["q_proj"]}, TRAIN_LORA),
        ({"peft_type": "SHADOW"}, TRAIN_LORA),
    ],
)
def test_an_adapter_of_another_type(base: str, tmp_path: Path, config: dict[str, Any], advice: str) -> None:
    """It is advised to merge what PEFT merges, and nothing else."""
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    of_peft = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(config["peft_type"])](**config, task_type="CAUSAL_LM")
    with peft_on_newer_transformers():
        adapted = get_peft_model(llama(seed=0), of_peft)

    with nullcontext() if advice == MERGE_IT else pytest.raises((AttributeError, NotImplementedError)):
        adapted.merge_and_unload()

    said = f"it is of type {config['peft_type']}, and only LoRA is stacked: {advice}."
    assert str(refusal(base, str(tmp_path))).endswith(said)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"hidden_size": 48}, "its matrices are of other sizes than this model's layers"),
        ({"num_hidden_layers": 3}, "it was made for another model"),
        ({"num_hidden_layers": 1}, _CONFIG_SAYS_OTHERWISE),  # or its file was cut: nothing tells
    ],
)
def test_an_adapter_made_for_another_base(base: str, tmp_path: Path, shape: dict[str, int], words: str) -> None:
    policy = save_adapter(llama(seed=0, **shape), tmp_path / "policy", seed=1)

    said = str(refusal(base, policy))

    assert words in said
    assert said.endswith("give the model that it was trained on as base.")


def renamed(policy: str, folder: Path, name_of: Callable[[str], str], like: str = "") -> str:
    """A copy of an adapter whose tensors have other names, and of which it has those that are like this."""
    shutil.copytree(policy, folder)
    file = folder / "adapter_model.safetensors"
    tensors = {name_of(key): tensor for key, tensor in load_file(file).items() if like in key}
    save_file(tensors, file, metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize("name", ["default", "alice"])
def test_an_adapter_whose_tensors_have_its_name_is_the_same_adapter(
    families: dict[str, Family], tmp_path: Path, name: str
) -> None:
    """As old versions of PEFT wrote it, and as a state dict has it: the base was blamed."""
    family = families["llama"]
    named = renamed(family.policy, tmp_path / "named", lambda key: key.replace(".weight", f".{name}.weight"))
    requests = [r for r in mixed_batch() if "reference" not in {stream.weights for stream in r.streams}]

    completions = decode(load_engine(family.base, named), requests)

    assert token_ids(completions) == token_ids(decode(load_engine(family.base, family.policy), requests))


def test_an_adapter_trained_beside_megatron_is_stacked_on_a_model_of_transformers(
    families: dict[str, Family], tmp_path: Path
) -> None:
    """Megatron's layers are none of transformers', and its package is not asked for."""
    policy = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    change(policy / "adapter_config.json", megatron_config={"tensor_model_parallel_size": 2})

    assert load_engine(families["llama"].base, str(policy)).weights == ("base", "policy")


_OF_TWO = {"q_proj": "alice", "v_proj": "bob"}


@pytest.mark.parametrize(
    ("name_of", "like", "words"),
    [
        (
            lambda key: key.replace(".weight", f".{_OF_TWO[key.split('.')[-3]]}.weight"),
            "self_attn",
            "its file holds several adapters (alice, bob): save the one that is meant by itself",
        ),
        (lambda key: key, "lora_A", "lora_A.weight, and not the other matrix of that layer: copy"),
        (lambda key: key, "nothing", "its file of weights holds nothing: copy"),
        (lambda key: key.removeprefix("base_model.model."), "", "named model.layers.0.mlp.down_proj.lora_A.weight, "),
        (lambda key: f"module.{key}", "", "where PEFT names those of this model base_model.model.model.layers.0."),
        (lambda key: key.replace(".model.layers", "._orig_mod.model.layers"), "", "or save it with PEFT's save"),
    ],
    ids=["two adapters", "half of each", "none", "no prefix", "another prefix", "compiled"],
)
def test_an_adapter_whose_file_is_at_fault(
    families: dict[str, Family], tmp_path: Path, name_of: Callable[[str], str], like: str, words: str
) -> None:
    policy = renamed(families["llama"].policy, tmp_path / "policy", name_of, like)

    assert words in str(refusal(families["llama"].base, policy))


def test_an_adapter_that_was_saved_while_its_parameters_were_elsewhere(
    families: dict[str, Family], tmp_path: Path
) -> None:
    policy = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    file = policy / "adapter_model.safetensors"
    save_file({key: torch.empty(0) for key in load_file(file)}, file, metadata={"format": "pt"})

    assert "its weights are empty, such as base_model.model.model" in str(refusal(families["llama"].base, str(policy)))


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
