import pytest

from tests.engine.oracle import Oracle
from tests.engine.requests import decode, mixed_batch, pad, plain, prompt
from worker.engine import Engine, Request


def test_rewards_equal_the_oracles(engine: Engine, oracle: Oracle) -> None:
    requests = [request for request in mixed_batch() if len(request.streams) > 1]

    completions = decode(engine, requests)

    for request in requests:
        completion = completions[request.request_id]
        answer = oracle.answer(request, completion.token_ids)
        assert completion.rewards == pytest.approx(answer.rewards, abs=1e-4)
        assert completion.reward == pytest.approx(sum(answer.rewards), abs=1e-3)
        assert len(answer.rewards) == completion.num_completion_tokens


def test_rewards_of_single_tokens_are_returned_only_if_asked_for(engine: Engine) -> None:
    completion = decode(engine, [Request(0, pad(prompt(1, 5)), strength=0.8)])[0]

    assert completion.reward is not None
    assert completion.rewards is None


def test_a_reward_is_none_where_nothing_guided(engine: Engine) -> None:
    requests = [
        Request("no streams to guide", plain(prompt(1, 5)), strength=0.8, return_rewards=True),
        Request("no strength", pad(prompt(1, 5)), strength=0.0, return_rewards=True),
        Request("guided", pad(prompt(1, 5)), strength=0.1, return_rewards=True),
    ]

    completions = decode(engine, requests)

    assert {key: completion.reward is None for key, completion in completions.items()} == {
        "no streams to guide": True,
        "no strength": True,
        "guided": False,
    }
    assert completions["no strength"].rewards is None


def test_a_stronger_guidance_earns_more_reward(engine: Engine) -> None:
    texts = [prompt(seed, 6) for seed in range(10)]
    requests = [
        Request(f"{i} at {w}", pad(t), strength=w, max_tokens=20) for i, t in enumerate(texts) for w in (0.1, 1.0)
    ]

    completions = decode(engine, requests)

    def mean(strength: float) -> float:
        chosen = [c for r in requests if r.strength == strength for c in [completions[r.request_id]]]
        return sum(c.reward or 0.0 for c in chosen) / sum(c.num_completion_tokens for c in chosen)

    assert mean(1.0) > mean(0.1)
