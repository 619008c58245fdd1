"""Prompts are read in pieces, beside the rows that decode."""

from collections.abc import Sequence

import pytest

from tests.engine.conftest import make_engine
from tests.engine.forwards import watch
from tests.engine.models import Family
from tests.engine.oracle import Oracle
from tests.engine.requests import contrast, decode, mixture, pad, plain, prompt, token_ids
from worker.engine import Engine, Request, StopCondition, Stream

BUDGET = 16


@pytest.fixture
def family(families: dict[str, Family]) -> Family:
    return families["gpt2"]


def recording(lengths: list[int]) -> StopCondition:
    """Never stops, but notes how many tokens there are whenever one is chosen."""

    def note(token_ids: Sequence[int]) -> int | None:
        lengths.append(len(token_ids))
        return None

    return note


def test_who_decodes_gets_a_token_in_every_step_while_a_long_prompt_is_read(family: Family, oracle: Oracle) -> None:
    frugal = make_engine(family, prefill_budget=BUDGET)
    of_old: list[int] = []
    of_long: list[int] = []
    old = Request("old", pad(prompt(1, 5)), strength=0.8, max_tokens=60, stop=recording(of_old))
    long = Request("long", contrast(prompt(2, 100)), strength=0.7, max_tokens=8, stop=recording(of_long))
    frugal.add(old)
    frugal.step()

    frugal.add(long)
    num_tokens_after_each_step = []
    while not of_long:
        assert frugal.step() == []
        num_tokens_after_each_step.append(len(of_old))

    assert num_tokens_after_each_step == [2 + step for step in range(-(-102 * 2 // BUDGET))]
    completions = decode(frugal, [])
    assert token_ids(completions) == {r.request_id: oracle.answer(r).token_ids for r in (old, long)}


def test_no_step_reads_more_prompt_tokens_than_the_budget(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    frugal = make_engine(family, prefill_budget=BUDGET)
    requests = [Request(index, pad(prompt(index, 25 + index)), strength=0.5, max_tokens=1) for index in range(4)]
    forwards = watch(monkeypatch)

    decode(frugal, requests)

    assert max(forwards.sizes) <= BUDGET
    assert sum(forwards.sizes) == 2 * sum(len(request.streams[0].prompt) for request in requests)


def test_streams_of_unequal_length_begin_to_decode_together(family: Family, oracle: Oracle) -> None:
    frugal = make_engine(family, prefill_budget=6)
    streams = (
        Stream("base", prompt(0, 3)),
        Stream("policy", prompt(1, 40), reward=1.0),
        Stream("reference", prompt(2, 17), reward=-1.0),
        Stream("base", prompt(3, 41), reward=-0.3),
    )
    request = Request(0, streams, strength=0.9, max_tokens=10)

    completion = decode(frugal, [Request("beside", mixture(prompt(4, 9)), strength=0.5), request])[0]

    assert completion.token_ids == oracle.answer(request).token_ids


def test_cancelling_a_half_read_request_disturbs_no_one(family: Family, engine: Engine) -> None:
    others = [
        Request("before", pad(prompt(1, 5)), strength=0.9, max_tokens=20),
        Request("behind", pad(prompt(2, 30)), strength=0.9, max_tokens=20),
    ]
    expected = token_ids(decode(engine, others))
    frugal = make_engine(family, prefill_budget=BUDGET)
    frugal.add(others[0])
    frugal.add(Request("half-read", mixture(prompt(0, 50)), strength=0.5))
    frugal.add(others[1])
    for _ in range(3):
        frugal.step()

    frugal.cancel("half-read")

    assert (frugal.num_active, frugal.num_waiting) == (1, 1)
    assert token_ids(decode(frugal, [])) == expected


def test_a_request_that_ends_while_another_is_half_read_leaves_it_whole(family: Family, engine: Engine) -> None:
    requests = [
        *(Request(index, pad(prompt(index, 4)), strength=0.6, max_tokens=2 + index) for index in range(5)),
        Request("long", mixture(prompt(9, 90)), strength=0.6, max_tokens=10),
        Request("next", plain(prompt(8, 20)), max_tokens=10),
    ]
    frugal = make_engine(family, prefill_budget=40)

    completions = decode(frugal, requests)

    assert list(completions)[:5] == list(range(5))
    assert token_ids(completions) == token_ids(decode(engine, requests))
