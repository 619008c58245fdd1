"""Models whose code differs from what most have: they are exact too, or refused by a sentence."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.engine.models import CACHED_OTHERWISE, OUT_OF_LINE, WINDOW, Family, save, save_adapter, save_family, tiny
from tests.engine.oracle import Oracle, generate_greedily
from tests.engine.requests import contrast, decode, mixture, pad, plain, prompt, token_ids
from worker.engine import ModelError, Request, load_engine

COMMON = prompt(100, 3 * WINDOW)


@pytest.fixture(autouse=True)
def _long_prefixes_are_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", WINDOW)


def on_one_prefix(num_requests: int = 5) -> list[Request]:
    return [
        Request(index, plain(COMMON + prompt(index, 1 + index)), strength=0.0, max_tokens=WINDOW)
        for index in range(num_requests)
    ]


@pytest.mark.parametrize("model_type", [*CACHED_OTHERWISE, *OUT_OF_LINE])
def test_rows_that_share_a_long_prefix_equal_generate(model_type: str, tmp_path: Path) -> None:
    path, requests = save(tiny(model_type, seed=0), tmp_path / model_type), on_one_prefix()

    completions = decode(load_engine(path, device="cpu", num_slots=4), requests)

    for request in requests:
        expected = generate_greedily(path, request.streams[0].prompt, request.max_tokens)
        assert completions[request.request_id].token_ids == expected


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt_oss"])
def test_a_prefix_is_read_in_place_wherever_it_can_be(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine(save(tiny(model_type, seed=0), tmp_path / model_type), device="cpu", num_slots=4)
    monkeypatch.setattr("worker.engine.cache.kv_cache.RowCache.write", lambda *_: pytest.fail("It was copied."))

    decode(engine, on_one_prefix())


@pytest.mark.parametrize("model_type", ["gpt_oss", "minicpm3", "diffllama"])
def test_guided_requests_equal_the_oracle(model_type: str, tmp_path: Path) -> None:
    family = save_family(model_type, tmp_path)
    methods = [pad, mixture, contrast]
    requests = [
        Request(index, methods[index % 3](COMMON + prompt(index, index)), strength=0.8, max_tokens=6)
        for index in range(6)
    ]

    completions = decode(load_engine(family.base, family.policy, family.reference, device="cpu", num_slots=4), requests)

    oracle = Oracle.of(family)
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}


@pytest.mark.parametrize(
    ("model_type", "width"), [("deepseek_v3", "moe_intermediate_size"), ("gpt_oss", "intermediate_size")]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_experts_of_a_width_that_grouped_products_refuse_are_decoded(
    model_type: str, width: str, dtype: str, tmp_path: Path
) -> None:
    """transformers' own forward pass fails on them ("strides should be multiple of 16 bytes"), and so did the load."""
    model = tiny(model_type, seed=0, **{width: 17}).bfloat16()
    path = save(model, tmp_path)
    requests = [Request(index, plain(prompt(index, 1 + 4 * index)), max_tokens=6) for index in range(5)]

    completions = decode(load_engine(path, device="cpu", dtype=dtype, num_slots=3), requests)

    own = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, experts_implementation="eager")
    for request in requests:
        text = request.streams[0].prompt + completions[request.request_id].token_ids
        logits = own(torch.tensor([text])).logits[0, len(request.streams[0].prompt) - 1 : -1].float()
        chosen = logits.gather(1, torch.tensor(completions[request.request_id].token_ids)[:, None])[:, 0]
        rounding = 8 * torch.finfo(own.dtype).eps * logits.abs().amax()
        assert (logits.amax(1) - chosen <= rounding).all()


@pytest.mark.parametrize("model_type", ["minicpm3", "deepseek_v3"])
def test_an_adapter_on_what_the_cache_holds_is_refused_by_a_sentence(model_type: str, tmp_path: Path) -> None:
    """Latent attention runs `kv_b_proj` on the cached latents of all rows; an adapter there would reach them all."""
    family = Family(
        base=save(tiny(model_type, seed=0), tmp_path / "base"),
        policy=save_adapter(tiny(model_type, seed=0), tmp_path / "policy", seed=1, target_modules=["kv_b_proj"]),
        reference="",
    )

    with pytest.raises(ModelError, match="an adapter changes a layer that runs on other tokens than a step"):
        load_engine(family.base, family.policy, device="cpu")


def test_a_mask_that_a_model_learns_is_not_taken_for_a_causal_one(tmp_path: Path) -> None:
    model = tiny("doge", seed=0)
    with torch.no_grad():
        for layer in model.get_submodule("model.layers").children():
            layer.get_parameter("self_attn.A").uniform_(-2, 2)

    with pytest.raises(ModelError, match="cached logits differ from its uncached ones"):
        load_engine(save(model, tmp_path), device="cpu")
