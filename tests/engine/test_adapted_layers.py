"""Adapters on layers that a model looks into, or views in its own way, and on those that are not linear."""

from pathlib import Path

import pytest

from tests.engine.models import OUT_OF_LINE, Family, change, save, save_adapter, tiny
from tests.engine.oracle import Oracle
from tests.engine.recurrent_models import RECURRENT
from tests.engine.requests import decode, pad, prompt, token_ids
from worker.engine import ModelError, Request, load_engine
from worker.engine.errors import OTHER_ARCHITECTURE
from worker.engine.layers.lora import MERGE_IT


def _family(model_type: str, folder: Path, layers: list[str], rank: int, **shape: object) -> Family:
    adapter = {"r": rank, "target_modules": layers}
    return Family(
        base=save(tiny(model_type, seed=0, **shape), folder / "base"),
        policy=save_adapter(tiny(model_type, seed=0, **shape), folder / "policy", seed=1, **adapter),
        reference=save(tiny(model_type, seed=2, **shape), folder / "reference"),
    )


def _guided() -> list[Request]:
    return [Request(index, pad(prompt(index, 3 + 4 * index)), strength=0.8, max_tokens=5) for index in range(4)]


@pytest.mark.parametrize(
    ("model_type", "layers", "rank"),
    [
        ("llama4_text", ["q_proj", "k_proj", "v_proj"], 3),
        ("mamba", ["x_proj", "in_proj"], 4),
        ("mamba", ["dt_proj"], 4),
    ],
    ids=["viewed as pairs", "beside a layer whose bias is read", "whose bias is read"],
)
def test_guided_requests_equal_the_oracle(model_type: str, layers: list[str], rank: int, tmp_path: Path) -> None:
    """Llama 4 views queries as complex numbers, and a product with an odd rank behind it is none; Mamba adds biases."""
    shape = RECURRENT.get(model_type, {}) | ({"time_step_rank": 4} if model_type == "mamba" else {})
    family, requests = _family(model_type, tmp_path, layers, rank, **shape), _guided()

    engine = load_engine(family.base, family.policy, device="cpu", num_slots=3, max_length=128)

    oracle = Oracle.of(family)
    assert token_ids(decode(engine, requests)) == {
        request.request_id: oracle.answer(request).token_ids for request in requests
    }


def test_an_adapter_that_began_with_the_least_of_its_base_is_a_plain_one(tmp_path: Path) -> None:
    """MiCA freezes B at the singular vectors that matter least, and trains A."""
    base = save(tiny("llama", seed=0), tmp_path / "base")
    policy = save_adapter(tiny("llama", seed=0), tmp_path / "policy", seed=1, init_lora_weights="mica")
    family, requests = Family(base, policy, base), _guided()

    completions = decode(load_engine(base, policy, device="cpu"), requests)

    oracle = Oracle.of(family)
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}


def _said(base: str, policy: str | None = None) -> str:
    with pytest.raises(ModelError) as refusal:
        load_engine(base, policy, device="cpu")
    return str(refusal.value)


def test_an_adapter_on_a_router_is_refused_by_its_name(tmp_path: Path) -> None:
    """It is a linear layer by its class, and gives scores and choices."""
    family = _family("llama4_text", tmp_path, ["router"], 4)

    said = _said(family.base, family.policy)

    assert said.endswith(f"it adapts model.layers.0.feed_forward.router, which is not a linear layer: {MERGE_IT}.")


def test_an_adapter_on_a_layer_that_sees_no_new_token_is_refused_by_that(tmp_path: Path) -> None:
    """BigBird pools the first token of each text, whatever tokens a step adds."""
    family = _family("big_bird", tmp_path, ["query", "pooler"], 4, **OUT_OF_LINE["bert"])

    said = _said(family.base, family.policy)

    assert said.endswith(f"runs on other tokens than a step's, and cannot tell whose: {MERGE_IT}.")


def test_a_model_with_a_cache_of_its_own_is_refused_without_quoting_its_code(tmp_path: Path) -> None:
    shape = {"num_local_experts": 2, "num_experts_per_tok": 1, "layer_types": ["full_attention", "linear_attention"]}
    base = save(tiny("minimax", seed=0, hidden_size=32, intermediate_size=32, num_hidden_layers=2, **shape), tmp_path)

    assert _said(base).endswith(f"its code does not run on a cache that holds several texts: {OTHER_ARCHITECTURE}.")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"model_type": "newer"}, "this version of transformers has no model of type 'newer': update it, or choose"),
        ({"model_type": "newer", "auto_map": {}}, "of type 'newer', and code beside the weights is not run: update it"),
        ({"hidden_size": "wide"}, "its config.json holds values that transformers does not take for a 'llama'"),
    ],
    ids=["unknown", "code of its own", "impossible values"],
)
def test_a_configuration_that_transformers_does_not_take_is_told_in_our_words(
    entries: dict[str, object], words: str, tmp_path: Path
) -> None:
    base = save(tiny("llama", seed=0), tmp_path)
    change(tmp_path / "config.json", **entries)

    assert words in _said(base)
