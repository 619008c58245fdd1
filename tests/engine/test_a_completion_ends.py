from collections.abc import Sequence

import pytest

from tests.engine.models import EOS
from tests.engine.requests import decode, pad, plain, prompt
from worker.engine import Completion, Engine, Failure, FinishReason, Request


def a_prompt_that_reaches_the_end_of_sequence(engine: Engine) -> Request:
    """Found by trying, so that the test does not depend on the random weights."""
    requests = [
        Request(seed, plain(prompt(seed, 4)), k=97, temperature=3.0, seed=seed, max_tokens=40) for seed in range(32)
    ]
    ended = [c.request_id for c in decode(engine, requests).values() if c.finish_reason is FinishReason.STOP]
    return next(request for request in requests if request.request_id in ended)


def test_the_end_of_sequence_token_ends_a_completion_and_is_counted_but_not_returned(engine: Engine) -> None:
    request = a_prompt_that_reaches_the_end_of_sequence(engine)

    completion = decode(engine, [request])[request.request_id]

    assert completion.finish_reason is FinishReason.STOP
    assert EOS not in completion.token_ids
    assert completion.num_completion_tokens == len(completion.token_ids) + 1


@pytest.mark.parametrize("max_tokens", [1, 2, 9])
def test_max_tokens_ends_a_completion(engine: Engine, max_tokens: int) -> None:
    completion = decode(engine, [Request(0, pad(prompt(2, 6)), strength=0.5, max_tokens=max_tokens)])[0]

    assert completion.finish_reason is FinishReason.LENGTH
    assert len(completion.token_ids) == completion.num_completion_tokens == max_tokens
    assert completion.num_prompt_tokens == 6


def test_a_stop_condition_ends_a_completion_and_says_how_much_is_kept(engine: Engine) -> None:
    free = decode(engine, [Request(0, plain(prompt(2, 6)), max_tokens=12)])[0].token_ids

    def stop(token_ids: Sequence[int]) -> int | None:
        return 3 if len(token_ids) == 5 else None

    completion = decode(engine, [Request(0, plain(prompt(2, 6)), max_tokens=12, stop=stop)])[0]

    assert completion.token_ids == free[:3]
    assert completion.finish_reason is FinishReason.STOP
    assert completion.num_completion_tokens == 5


def test_a_stop_condition_that_raises_fails_its_own_request_only(engine: Engine) -> None:
    def stop(token_ids: Sequence[int]) -> int | None:
        raise KeyError(len(token_ids))

    outcomes = list(
        engine.generate([Request("bad", plain(prompt(2, 6)), stop=stop), Request("good", plain(prompt(2, 6)))])
    )

    failure, completion = outcomes
    assert isinstance(failure, Failure)
    assert (failure.request_id, failure.code) == ("bad", "stop_condition_failed")
    assert isinstance(completion, Completion)


def test_a_prompt_may_fill_the_model_to_its_last_position(engine: Engine) -> None:
    num_tokens = engine.max_length - 3

    completion = decode(engine, [Request(0, plain(prompt(1, num_tokens)), max_tokens=3)])[0]

    assert len(completion.token_ids) == 3


def test_cancelling_frees_the_slot_and_disturbs_no_one(engine: Engine) -> None:
    expected = decode(engine, [Request(1, pad(prompt(1, 5)), strength=0.9, max_tokens=10)])[1].token_ids
    engine.add(Request(0, pad(prompt(0, 9)), strength=0.5))
    engine.add(Request(1, pad(prompt(1, 5)), strength=0.9, max_tokens=10))
    engine.step()

    engine.cancel(0)
    engine.cancel("never added")

    assert engine.num_active == 1
    assert decode(engine, [])[1].token_ids == expected


def test_a_waiting_request_can_be_cancelled(engine: Engine) -> None:
    engine.add(Request(0, plain(prompt(0, 9))))

    engine.cancel(0)

    assert engine.num_waiting == 0
    assert list(engine.generate([])) == []


def test_closing_the_iterator_cancels_what_it_took(engine: Engine) -> None:
    outcomes = engine.generate(Request(seed, plain(prompt(seed, 5)), max_tokens=5 + seed) for seed in range(100))

    next(outcomes)
    outcomes.close()

    assert (engine.num_active, engine.num_waiting) == (0, 0)
