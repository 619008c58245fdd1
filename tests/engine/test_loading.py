from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from tests.engine.models import EOS, Family, gpt2, llama, save, tiny
from tests.engine.recurrent_models import RECURRENT
from tests.engine.requests import decode, mixed_batch, plain, prompt
from worker.engine import FinishReason, Request, load_engine
from worker.engine.layers.native import kernels
from worker.engine.layers.packed import can_pack


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_loads_and_decodes(family: Family, dtype: str) -> None:
    engine = load_engine(family.base, family.policy, family.reference, dtype=dtype, num_slots=4)

    completions = decode(engine, mixed_batch(max_tokens=5))

    assert engine.dtype == getattr(torch, dtype)
    assert len(completions) == len(mixed_batch())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_parts_from_a_plain_forward_within_rounding_only(family: Family, dtype: torch.dtype) -> None:
    assert_within_rounding(family.base, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_decodes_what_adds_up_its_layers_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    """Mamba does, whatever its weights are: norms and the head are given numbers of another dtype than their own."""
    assert_within_rounding(save(tiny("mamba2", seed=0, **RECURRENT["mamba2"]), tmp_path), dtype)


def assert_within_rounding(base: str, dtype: torch.dtype) -> None:
    """Each token is the likeliest in a plain forward of that dtype, or as likely but for rounding."""
    engine = load_engine(base, dtype=str(dtype).removeprefix("torch."), num_slots=4, max_length=64)
    plainly = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    requests = [Request(i, plain(prompt(i, 2 + 3 * i)), max_tokens=24) for i in range(6)]

    completions = decode(engine, requests)

    for request in requests:
        completion, text = completions[request.request_id], request.streams[0].prompt
        chosen = [*completion.token_ids, *([EOS] if completion.finish_reason is FinishReason.STOP else [])]
        with torch.no_grad():
            logits = plainly(input_ids=torch.tensor([[*text, *chosen]]), use_cache=False).logits.float()
        logits = logits[0, len(text) - 1 : -1]
        margin = logits.max(1).values - logits.gather(1, torch.tensor(chosen)[:, None])[:, 0]
        assert margin.max() <= 16 * torch.finfo(dtype).eps * logits.abs().max()


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "phi3"])
def test_in_bfloat16_an_answer_is_the_same_alone_and_among_others(model_type: str, tmp_path: Path) -> None:
    """Gemma 3 norms the heads of queries, Phi-3 turns a part of each: they leave them in another order of memory."""
    if kernels(torch.bfloat16) is None:  # a library's kernels are chosen by the number of rows
        return
    base = save(tiny(model_type, seed=0, head_dim=32), tmp_path / "base")
    engine = load_engine(base, dtype="bfloat16", num_slots=7)
    requests = [Request(i, plain(prompt(i, 2 + 5 * i)), max_tokens=12) for i in range(9)]

    together = decode(engine, requests)

    assert all(decode(engine, [request])[request.request_id] == together[request.request_id] for request in requests)


def test_a_processor_without_kernels_for_a_dtype_decodes_it_all_the_same(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)

    assert not can_pack(torch.bfloat16, torch.device("cpu"))
    assert load_engine(family.base, dtype="bfloat16").dtype == torch.bfloat16


def test_the_automatic_choice_is_single_precision_on_a_cpu(family: Family) -> None:
    engine = load_engine(family.base, device="cpu")

    assert (engine.device, engine.dtype) == (torch.device("cpu"), torch.float32)


def test_loading_draws_nothing_on_the_terminal(family: Family, capfd: pytest.CaptureFixture[str]) -> None:
    was_enabled = logging.is_progress_bar_enabled()

    load_engine(family.base, family.policy, family.reference)

    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() == was_enabled


def test_the_end_of_sequence_may_be_several_tokens_or_none(tmp_path: Path) -> None:
    several, none = llama(seed=0, eos_token_id=[5, 6]), gpt2(seed=0, eos_token_id=None)

    assert load_engine(save(several, tmp_path / "several")).eos_token_ids == {5, 6}
    assert load_engine(save(none, tmp_path / "none")).eos_token_ids == frozenset()


def test_an_engine_says_what_it_has(family: Family) -> None:
    engine = load_engine(family.base, family.policy, num_slots=3)
    engine.add(Request(0, plain((1, 2))))

    assert engine.weights == ("base", "policy")
    assert (engine.vocab_size, engine.max_length, engine.num_slots) == (97, 256, 3)
    assert (engine.num_active, engine.num_waiting) == (0, 1)
