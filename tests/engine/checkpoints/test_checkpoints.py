"""Model directories as they are found: in shards, with heads of their own, with the value head of a PAD policy."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from tests.engine.models import gpt2, llama, merge, read, save, save_adapter, tiny
from tests.engine.oracle import LanguageModel, Oracle, behind_a_value_head, uncached
from tests.engine.requests import METHODS, decode, mixed_batch, prompt, token_ids
from worker.engine import ModelError, Request, load_engine

SHARD_SIZE = "20KB"
WIDTH = 32


def requests(*, with_reference: bool = False) -> list[Request]:
    methods = [method for name, method in METHODS.items() if with_reference or name != "pad_with_reference"]
    return [
        Request(
            i,
            methods[i % len(methods)](prompt(i, 2 + 3 * i)),
            strength=(0.8, 1.3)[i % 2],
            temperature=(0.0, 0.8)[i % 2],
            seed=i,
            max_tokens=6,
        )
        for i in range(8)
    ]


def answers(base: PreTrainedModel, policy: LanguageModel, asked: list[Request]) -> dict[int | str, tuple[int, ...]]:
    oracle = Oracle({"base": uncached(base), "policy": policy})
    return {request.request_id: oracle.answer(request).token_ids for request in asked}


@pytest.mark.parametrize("make", [llama, gpt2])
def test_shards_decode_the_same_as_one_file(make: Callable[[int], PreTrainedModel], tmp_path: Path) -> None:
    whole = [save(make(seed), tmp_path / f"whole {seed}") for seed in (0, 2)]
    for seed in (0, 2):
        make(seed).save_pretrained(tmp_path / f"shards {seed}", max_shard_size=SHARD_SIZE)
    adapter = save_adapter(make(0), tmp_path / "policy", seed=1)

    expected = decode(load_engine(whole[0], adapter, whole[1]), mixed_batch())
    shards = decode(load_engine(str(tmp_path / "shards 0"), adapter, str(tmp_path / "shards 2")), mixed_batch())

    assert len(list((tmp_path / "shards 0").glob("*.safetensors"))) > 1
    assert token_ids(shards) == token_ids(expected)


@dataclass(frozen=True, slots=True)
class PadPolicy:
    """A directory in the layout of PAD's release, and what it means."""

    path: str
    model: LanguageModel


def save_pad_policy(folder: Path, layout: str, *, num_rows: int = WIDTH, bias: bool = True) -> PadPolicy:
    """A Llama with a random value head, in its own files or in one of its own."""
    model = llama(seed=3)
    value = nn.Linear(WIDTH, num_rows, bias=bias)
    nn.init.normal_(value.weight, std=0.5)
    shard_size = SHARD_SIZE if "shards" in layout else "1GB"
    if "beside" in layout:
        model.save_pretrained(folder, max_shard_size=shard_size)
        tensors = {f"v_head.summary.{name}": tensor for name, tensor in value.state_dict().items()}
        save_file(tensors, folder / "value_head.safetensors")
    else:
        with_value = llama(seed=3)
        with_value.add_module("v_head", nn.ModuleDict({"summary": value}))
        with_value.save_pretrained(folder, max_shard_size=shard_size)
    of_policy = behind_a_value_head(model, value.weight.detach(), value.bias.detach() if bias else None)
    return PadPolicy(str(folder), of_policy)


@cache
def answers_without_value_head() -> dict[int | str, tuple[int, ...]]:
    return answers(llama(seed=0), uncached(llama(seed=3)), requests())


LAYOUTS = ["one file", "shards", "beside one file", "beside shards"]


@pytest.mark.parametrize(("layout", "bias"), [*((layout, True) for layout in LAYOUTS), ("beside shards", False)])
def test_a_pad_policy_is_decoded_with_its_value_head(tmp_path: Path, layout: str, *, bias: bool) -> None:
    base, policy = llama(seed=0), save_pad_policy(tmp_path / "policy", layout, bias=bias)
    assert len(list((tmp_path / "policy").glob("model*.safetensors"))) == (1 if "one file" in layout else 12)
    engine = load_engine(save(base, tmp_path / "base"), policy.path)

    completions = decode(engine, requests())

    assert token_ids(completions) == answers(base, policy.model, requests())
    assert token_ids(completions) != answers_without_value_head()


def test_a_policy_may_be_the_reference_behind_a_value_head(tmp_path: Path) -> None:
    base, reference = llama(seed=0), llama(seed=3)
    policy = save_pad_policy(tmp_path / "policy", "one file")
    engine = load_engine(save(base, tmp_path / "base"), policy.path, save(reference, tmp_path / "reference"))
    models = {"base": uncached(base), "policy": policy.model, "reference": uncached(reference)}

    completions = decode(engine, requests(with_reference=True))

    oracle = Oracle(models)
    assert token_ids(completions) == {r.request_id: oracle.answer(r).token_ids for r in requests(with_reference=True)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_value_head_of_another_shape_is_refused(tmp_path: Path, layout: str) -> None:
    policy = save_pad_policy(tmp_path / "policy", layout, num_rows=1)

    with pytest.raises(ModelError, match=r"its value head is 1 x 32, not 32 x 32") as refused:
        load_engine(save(llama(seed=0), tmp_path / "base"), policy.path)

    assert refused.value.code == "model_unsupported"


def test_a_value_head_that_is_read_is_not_reported_as_unexpected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base, policy = save(llama(seed=0), tmp_path / "base"), save_pad_policy(tmp_path / "policy", "one file")
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)  # so that pytest sees it

    load_engine(base, policy.path)

    assert caplog.messages == []


def test_a_value_head_in_the_older_format_is_not_left_out(tmp_path: Path) -> None:
    policy = save_pad_policy(tmp_path / "policy", "one file")
    safe = tmp_path / "policy" / "model.safetensors"
    torch.save(load_file(safe), tmp_path / "policy" / "pytorch_model.bin")
    safe.unlink()

    with pytest.raises(ModelError, match="value head"):
        load_engine(save(llama(seed=0), tmp_path / "base"), policy.path)


@pytest.mark.parametrize("on_head", [False, True], ids=["", "and an update of the head"])
def test_an_adapter_is_decoded_with_the_value_head_beside_it(tmp_path: Path, *, on_head: bool) -> None:
    base = llama(seed=0, tie_word_embeddings=False)
    path = save(base, tmp_path / "base")
    targets = ["q_proj", "down_proj", *(["lm_head"] if on_head else [])]
    adapter = save_adapter(base, tmp_path / "policy", seed=1, target_modules=targets)
    without = token_ids(decode(load_engine(path, adapter), requests()))
    torch.manual_seed(4)
    weight, bias = torch.eye(WIDTH) + 0.3 * torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)
    tensors = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    save_file(tensors, tmp_path / "policy" / "value_head.safetensors")

    completions = decode(load_engine(path, adapter), requests())

    policy = behind_a_value_head(merge(read(path), adapter), weight, bias)
    assert token_ids(completions) == answers(read(path), policy, requests())
    assert token_ids(completions) != without


@pytest.mark.parametrize("model_type", ["phi", "gpt_neox"])
def test_a_policy_of_another_architecture_has_a_head_of_its_own(tmp_path: Path, model_type: str) -> None:
    base, policy = llama(seed=0), tiny(model_type, seed=3)
    if model_type == "phi":
        nn.init.normal_(policy.get_parameter("lm_head.bias"))
    engine = load_engine(save(base, tmp_path / "base"), save(policy, tmp_path / "policy"))

    completions = decode(engine, requests())

    assert token_ids(completions) == answers(base, uncached(policy), requests())


def test_a_head_with_a_bias_proposes_candidates(tmp_path: Path) -> None:
    base, policy = tiny("phi", seed=0), llama(seed=3)
    nn.init.normal_(base.get_parameter("lm_head.bias"), std=3.0)
    engine = load_engine(save(base, tmp_path / "base"), save(policy, tmp_path / "policy"))

    completions = decode(engine, requests())

    assert token_ids(completions) == answers(base, uncached(policy), requests())
