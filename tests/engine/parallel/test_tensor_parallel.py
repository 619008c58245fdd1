"""A model in two processes, as on two devices: one engine for all tests, its second process started once."""

import os
from collections.abc import Iterator

import pytest
import torch
from transformers import AutoConfig

from tests.engine.models import Family, llama, save, save_adapter, tiny
from tests.engine.parallel.in_two_processes import MIXTURE, forked_followers
from tests.engine.requests import decode, mixed_batch, pad, prompt, shaped_batch, token_ids
from worker.engine import Completion, Engine, ModelError, Request, Score, ScoreRequest, load_engine
from worker.engine.cache.kv_cache import RowCache
from worker.engine.parallel.shards import why_not_shared
from worker.engine.runner import Runner


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Biases of layers of both kinds, an adapter on both, and a reference with experts and another width."""
    folder = tmp_path_factory.mktemp("family")
    base = llama(0, attention_bias=True, mlp_bias=True)
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    base_folder = save(base, folder / "base")
    layers = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj", "lm_head"]
    return Family(
        base=base_folder,
        policy=save_adapter(base, folder / "policy", seed=1, r=8, target_modules=layers),
        reference=save(tiny("mixtral", 2, **MIXTURE), folder / "reference"),
    )


def _load(family: Family, tensor_parallel: int) -> Engine:
    return load_engine(
        family.base, family.policy, family.reference, device="cpu", num_slots=32, tensor_parallel=tensor_parallel
    )


@pytest.fixture(scope="module")
def whole(family: Family) -> Engine:
    return _load(family, 1)


@pytest.fixture(scope="module")
def divided(family: Family) -> Iterator[Engine]:
    names = {*os.environ}
    with forked_followers():
        engine = _load(family, 2)
    yield engine
    engine.close()
    assert {*os.environ} == names  # training in this process went wrong: LOCAL_RANK said that it was one of several


def _runners(engine: Engine) -> tuple[Runner, ...]:
    return engine._models.runners  # noqa: SLF001 (what the devices hold shares of)


@pytest.mark.parametrize("requests", [mixed_batch(), shaped_batch(3)], ids=["methods", "distributions"])
def test_two_devices_write_what_one_writes(whole: Engine, divided: Engine, requests: list[Request]) -> None:
    assert token_ids(decode(divided, requests)) == token_ids(decode(whole, requests))


@pytest.mark.parametrize("in_place", [True, False])
def test_each_device_keeps_its_share_of_a_shared_prefix(whole: Engine, divided: Engine, *, in_place: bool) -> None:
    begins = prompt(9, 60)
    requests = [Request(number, pad(begins + prompt(number, 3)), max_tokens=8, strength=0.8) for number in range(6)]
    expected = token_ids(decode(whole, requests))
    for runner in _runners(divided):
        runner.read_in_place(in_place)

    for _ in range(2):  # the second time, the prefix is there
        reused = divided.statistics.total_prompt_tokens_reused
        assert token_ids(decode(divided, requests)) == expected

    assert divided.statistics.total_prompt_tokens_reused - reused >= 2 * len(requests) * len(begins)


def test_a_request_that_is_cancelled_leaves_the_others_alone(whole: Engine, divided: Engine) -> None:
    requests = [Request(number, pad(prompt(number, 5 + number)), max_tokens=12) for number in range(4)]
    expected = token_ids(decode(whole, requests))

    for request in requests:
        divided.add(request)
    outcomes = [*divided.step(), *divided.step()]
    divided.cancel(1)
    outcomes += divided.generate([])

    written = {outcome.request_id: outcome.token_ids for outcome in outcomes if isinstance(outcome, Completion)}
    assert written == {key: tokens for key, tokens in expected.items() if key != 1}


def test_texts_are_scored_alike(whole: Engine, divided: Engine) -> None:
    texts = [
        ScoreRequest(
            request_id=number, weights="policy", prompt_ids=prompt(number, 4), completion_ids=prompt(50 + number, 6)
        )
        for number in range(3)
    ]

    scores = [engine.score(texts) for engine in (whole, divided)]

    for one, two in zip(*scores, strict=True):
        assert isinstance(one, Score)
        assert isinstance(two, Score)
        assert torch.allclose(torch.tensor(one.log_probabilities), torch.tensor(two.log_probabilities), atol=1e-4)


def test_a_device_holds_its_share_of_the_cache_alone(whole: Engine, divided: Engine) -> None:
    for one, two in zip(_runners(whole), _runners(divided), strict=True):
        assert two.bytes_per_token * 2 == one.bytes_per_token


class _OutOfMemoryOnce:
    """Breaks the other process as it arrives there: the next write into its cache finds no memory."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _break_once, ()


def _break_once() -> None:
    update = RowCache.update

    def broken(self: RowCache, *args: object, **kwargs: object) -> object:
        RowCache.update = update  # type: ignore[method-assign]
        raise torch.OutOfMemoryError

    RowCache.update = broken  # type: ignore[assignment, method-assign]


def test_memory_that_one_device_lacks_all_lack(whole: Engine, divided: Engine) -> None:
    requests = [Request(number, pad(prompt(number, 5 + number)), max_tokens=12) for number in range(4)]
    expected = token_ids(decode(whole, requests))
    for request in requests:
        divided.add(request)
    divided.step()
    _runners(divided)[0].read_in_place(_OutOfMemoryOnce())  # type: ignore[arg-type]
    _runners(divided)[0].read_in_place(None)

    outcomes = [*divided.step()]

    assert divided.num_slots < 32
    outcomes += divided.generate([])
    written = {outcome.request_id: outcome.token_ids for outcome in outcomes if isinstance(outcome, Completion)}
    assert written == expected


@pytest.mark.parametrize(
    ("model_type", "changes", "size", "cause"),
    [
        ("gpt2", {}, 2, "no tensor parallel plan"),
        ("qwen3_next", {}, 2, "its layers carry a recurrent state"),
        ("phi3", {}, 2, "rowwise_split_input"),
        ("llama", {"num_key_value_heads": 1}, 2, "its 1 key-value heads cannot be divided among 2 devices"),
        ("llama", {"intermediate_size": 66}, 4, "has a side of 66"),
        ("llama", {"quantization_config": {"quant_method": "fp8"}}, 2, "its weights are quantised"),
    ],
)
def test_what_cannot_be_divided_is_refused(model_type: str, changes: dict[str, object], size: int, cause: str) -> None:
    shape = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4, "pad_token_id": None}
    config = AutoConfig.for_model(model_type, **(shape | changes))

    assert cause in (why_not_shared(config, size) or "")


@pytest.mark.parametrize(
    ("device", "number", "message"),
    [("cpu", 0, "less than 1"), ("cpu,cpu", 3, "name so many"), ("cpu,cpu", 1, "name so many")],
)
def test_devices_that_are_not_so_many_are_refused(family: Family, device: str, number: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_engine(family.base, device=device, tensor_parallel=number)
