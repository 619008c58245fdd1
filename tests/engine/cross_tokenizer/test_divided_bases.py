"""A base that two processes hold together, as two devices would, and a guide that the first of them holds alone."""

from collections.abc import Iterator

import pytest
import torch

from tests.engine.cross_tokenizer.pairs import Pair
from tests.engine.requests import decode
from worker.engine import Engine, Request, Stream, TokenRewards, load_engine
from worker.engine.parallel.group import ALONE


def _load(pair: Pair, tensor_parallel: int) -> Engine:
    return load_engine(
        pair.base,
        pair.policy,
        pair.reference,
        device="cpu",
        max_length=64,
        num_slots=4,
        tensor_parallel=tensor_parallel,
    )


@pytest.fixture(scope="module")
def divided(llamas: Pair) -> Iterator[Engine]:
    if torch._C._get_accelerator().type != "cpu":  # noqa: SLF001 (as the engine asks)
        pytest.skip("transformers divides a model among the GPUs of a torch that is built for them")
    engine = _load(llamas, 2)
    yield engine
    engine.close()


def _requests() -> list[Request]:
    told = (7, 8, 40, 41)
    streams = (Stream("base", (5, 6)), Stream("policy", told, reward=1.0), Stream("reference", told, reward=-1.0))
    settings = ((None, 0.0), (0.4, 0.0), (None, 0.9), (None, 0.0), (0.2, 0.7))
    return [
        Request(n, streams, 1.5, k=6, max_kl=most, temperature=heat, seed=n, max_tokens=5 + n, return_rewards=True)
        for n, (most, heat) in enumerate(settings)
    ]


def test_a_divided_base_is_guided_as_a_whole_one(llamas: Pair, divided: Engine) -> None:
    whole = _load(llamas, 1)

    expected, found = decode(whole, _requests()), decode(divided, _requests())

    for number, completion in expected.items():
        assert found[number].token_ids == completion.token_ids
        assert found[number].rewards == pytest.approx(completion.rewards, abs=1e-4)
    assert [runner.group is ALONE for runner in divided._models.runners] == [False, True]  # noqa: SLF001


def test_what_guided_a_text_is_said_of_a_divided_base(llamas: Pair, divided: Engine) -> None:
    request, whole = _requests()[0], _load(llamas, 1)
    token_ids = decode(whole, [request])[0].token_ids

    expected, found = whole.token_rewards(request, token_ids), divided.token_rewards(request, token_ids)

    assert isinstance(expected, TokenRewards)
    assert isinstance(found, TokenRewards)
    rewards = [[token.reward for token in each.tokens] for each in (found, expected)]
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-4)
