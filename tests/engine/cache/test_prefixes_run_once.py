"""What waiting prompts begin with costs one forward pass, not one for each of them."""

import pytest

from tests.engine.conftest import make_engine
from tests.engine.forwards import watch
from tests.engine.models import Family
from tests.engine.oracle import Oracle
from tests.engine.requests import decode, pad, plain, prompt, token_ids
from worker.engine import Engine, Request, Stream

COMMON = prompt(100, 24)


@pytest.fixture
def family(families: dict[str, Family]) -> Family:
    return families["llama"]


@pytest.fixture(params=[256, 8], ids=["copied", "in place"])
def engine(request: pytest.FixtureRequest, family: Family, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Fresh: it has read no prefix yet."""
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", request.param)
    return make_engine(family)


def test_a_prefix_is_run_once_for_each_of_the_weights(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request(i, pad((*COMMON, i, i + 1)), strength=0.8, max_tokens=1) for i in range(5)]
    forwards = watch(monkeypatch)

    decode(engine, requests)

    assert [line for line in forwards.token_ids if len(line) > 1][:2] == [list(COMMON)] * 2
    assert sum(forwards.sizes) == 2 * len(COMMON) + 2 * 2 * len(requests)


def test_requests_that_come_later_use_what_was_read(
    engine: Engine, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode(engine, [Request(i, plain((*COMMON, i)), max_tokens=3) for i in range(2)])
    forwards = watch(monkeypatch)

    late = Request("late", plain((*COMMON, 7, 8)), max_tokens=6)
    completion = decode(engine, [late])["late"]

    assert forwards.token_ids[0] == [7, 8]
    assert completion.token_ids == oracle.answer(late).token_ids


def test_prompts_equal_to_their_prefix_keep_one_token_to_run(
    engine: Engine, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [
        *(Request(seed, plain(COMMON), temperature=1.5, seed=seed, max_tokens=5) for seed in range(3)),
        Request("longer", plain((*COMMON, 9)), max_tokens=5),
    ]
    forwards = watch(monkeypatch)

    completions = decode(engine, requests)

    assert forwards.token_ids[:2] == [list(COMMON[:-1]), [COMMON[-1]] * 4 + [9]]
    assert token_ids(completions) == {r.request_id: oracle.answer(r).token_ids for r in requests}


def test_streams_of_one_request_may_share_a_prefix(
    engine: Engine, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = prompt(3, 4)
    principles = (Stream("policy", (*COMMON, i, *text), reward=0.3) for i in range(3))
    request = Request(0, (Stream("base", text, reward=-0.9), *principles), strength=0.9, max_tokens=8)
    forwards = watch(monkeypatch)

    completions = decode(engine, [request])

    assert forwards.sizes[:2] == [len(COMMON), 4 + 3 * 5]
    assert completions[0].token_ids == oracle.answer(request).token_ids
