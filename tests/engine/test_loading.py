from pathlib import Path

import pytest
import torch
from transformers.utils import logging

from tests.engine.models import Family, gpt2, llama, save
from tests.engine.requests import decode, mixed_batch, plain
from worker.engine import Request, load_engine


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_loads_and_decodes(family: Family, dtype: str) -> None:
    engine = load_engine(family.base, family.policy, family.reference, dtype=dtype, num_slots=4)

    completions = decode(engine, mixed_batch(max_tokens=5))

    assert engine.dtype == getattr(torch, dtype)
    assert len(completions) == len(mixed_batch())


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


def test_the_generation_configuration_decides_what_ends_a_completion(tmp_path: Path) -> None:
    model = llama(seed=0)
    model.generation_config.eos_token_id = [7, 8]

    assert load_engine(save(model, tmp_path)).eos_token_ids == {7, 8}


def test_an_engine_says_what_it_has(family: Family) -> None:
    engine = load_engine(family.base, family.policy, num_slots=3)
    engine.add(Request(0, plain((1, 2))))

    assert engine.weights == ("base", "policy")
    assert (engine.vocab_size, engine.max_length, engine.num_slots) == (97, 256, 3)
    assert (engine.num_active, engine.num_waiting) == (0, 1)
