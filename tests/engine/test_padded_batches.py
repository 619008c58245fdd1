"""Models whose attention is in code of their own run as padded batches: they are exact, too."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.engine.models import EOS, MAX_LENGTH, VOCAB_SIZE, WINDOW, Family, save, save_adapter, tiny
from tests.engine.oracle import Oracle, generate_greedily
from tests.engine.requests import METHODS, decode, mixed_batch, plain, prompt, token_ids
from worker.engine import Engine, Request, load_engine

_HEADS = {"vocab_size": VOCAB_SIZE, "eos_token_id": EOS, "bos_token_id": None, "initializer_range": 0.3}
_FALCON = _HEADS | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "tie_word_embeddings": False}
_GPT_J = _HEADS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": MAX_LENGTH}
_BLOOM = _HEADS | {"hidden_size": 48, "n_layer": 2, "n_head": 6, "tie_word_embeddings": False}
_MPT = _HEADS | {"d_model": 48, "n_layers": 2, "n_heads": 6, "max_seq_len": MAX_LENGTH, "tie_word_embeddings": False}
_GPT_NEO = _HEADS | {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": WINDOW,
    "max_position_embeddings": MAX_LENGTH,
    "tie_word_embeddings": False,
}
_MODELS: Mapping[str, tuple[str, Mapping[str, Any], list[str]]] = {
    "gptj": ("gptj", _GPT_J, ["q_proj", "out_proj", "fc_in"]),
    "falcon, one key head": ("falcon", _FALCON, ["query_key_value", "dense_h_to_4h"]),
    "falcon, grouped": ("falcon", _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}, ["query_key_value"]),
    "falcon, slopes": ("falcon", _FALCON | {"alibi": True, "multi_query": False}, ["query_key_value", "dense"]),
    "bloom, six slopes": ("bloom", _BLOOM, ["query_key_value", "dense_4h_to_h"]),
    "mpt": ("mpt", _MPT, ["Wqkv", "down_proj"]),
    "gpt_neo, window": ("gpt_neo", _GPT_NEO, ["q_proj", "v_proj", "c_fc"]),
}


@pytest.fixture(scope="module", params=[*_MODELS])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    model_type, shape, layers = _MODELS[request.param]
    folder = tmp_path_factory.mktemp("family")
    return Family(
        base=save(tiny(model_type, seed=0, **shape), folder / "base"),
        policy=save_adapter(tiny(model_type, seed=0, **shape), folder / "policy", seed=1, target_modules=layers),
        reference=save(tiny(model_type, seed=2, **shape), folder / "reference"),
    )


@pytest.fixture(scope="module")
def engine(family: Family) -> Engine:
    """It reads prompts in pieces beside rows that decode, and more wait than it has slots."""
    weights = (family.base, family.policy, family.reference)
    return load_engine(*weights, device="cpu", num_slots=3, prefill_budget=7, max_length=MAX_LENGTH)


def test_guided_requests_equal_the_oracle(engine: Engine, family: Family) -> None:
    requests, oracle = mixed_batch(max_tokens=WINDOW + 1)[: len(METHODS)], Oracle.of(family)

    completions = decode(engine, requests)

    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}


def test_rows_of_all_lengths_that_share_prefixes_equal_generate(
    engine: Engine, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", WINDOW)
    shared = prompt(100, 3 * WINDOW)
    texts = [shared + prompt(index, 1 + index) for index in range(4)] + [prompt(9, 1), prompt(10, 5 * WINDOW)]
    requests = [
        Request(index, plain(text), strength=0.0, max_tokens=2 * WINDOW - index) for index, text in enumerate(texts)
    ]

    completions = decode(engine, requests)

    for request in requests:
        expected = generate_greedily(family.base, request.streams[0].prompt, request.max_tokens)
        assert completions[request.request_id].token_ids == expected
