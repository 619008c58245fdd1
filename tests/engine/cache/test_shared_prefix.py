"""What waiting prompts begin with is run once, and changes no answer: copied into rows, or read in place if long."""

from collections.abc import Sequence

import pytest

from tests.engine.conftest import make_engine
from tests.engine.models import WINDOW, Family, save_family
from tests.engine.oracle import Oracle
from tests.engine.requests import METHODS, decode, mixture, pad_with_reference, prompt, token_ids
from worker.engine import Completion, Engine, Request, Stream

COMMON = prompt(100, 3 * WINDOW)
GUIDELINES = prompt(101, 2 * WINDOW)
COPIED, IN_PLACE = 256, WINDOW
"""From how many tokens a prefix is read in place."""


@pytest.fixture(
    scope="module",
    params=[("llama", COPIED), ("gpt2", IN_PLACE), ("mistral", IN_PLACE), ("gemma2", IN_PLACE)],
    ids=lambda case: f"{case[0]} {'copied' if case[1] == COPIED else 'in place'}",
)
def case(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Rotary and absolute positions, windows, soft-capped scores in layers with and without a window."""
    model_type, read_in_place_from = request.param
    return model_type, read_in_place_from


@pytest.fixture(scope="module")
def family(case: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Family:
    return save_family(case[0], tmp_path_factory.mktemp(case[0]))


@pytest.fixture(autouse=True)
def _read_in_place_from(case: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", case[1])


@pytest.fixture(scope="module")
def engine(family: Family) -> Engine:
    """The prefixes that one test has read are there in the next."""
    return make_engine(family, num_slots=6)


def guided(streams: Sequence[Stream]) -> tuple[Stream, ...]:
    """The policy reads guidelines in front of the prompt."""
    return tuple(Stream(s.weights, GUIDELINES + s.prompt, s.reward) if s.weights == "policy" else s for s in streams)


def a_campaign(num_requests: int = 8) -> list[Request]:
    """One text with something of each reader's own behind it, in all methods; a few prompts share nothing."""
    requests = []
    for index in range(num_requests):
        text = prompt(index, 3 * (index // 2))  # twice nothing, so that the whole prompt is shared
        streams = [*METHODS.values()][index % len(METHODS)](text if index % 4 == 3 else COMMON + text)
        requests.append(
            Request(
                index,
                guided(streams),
                strength=0.8,
                temperature=(0.0, 0.9)[index % 2],
                seed=index,
                max_tokens=3 + (5 * index) % 7,
            )
        )
    return requests


def answers(oracle: Oracle, requests: Sequence[Request]) -> dict[int | str, tuple[int, ...]]:
    return {request.request_id: oracle.answer(request).token_ids for request in requests}


def test_prompts_that_share_a_prefix_equal_the_oracle(engine: Engine, oracle: Oracle) -> None:
    requests = a_campaign()

    together = token_ids(decode(engine, requests))

    assert together == answers(oracle, requests)
    assert len({tokens[:3] for tokens in together.values()}) > len(requests) // 2


def test_a_prefix_may_be_read_in_pieces(family: Family, oracle: Oracle) -> None:
    requests = a_campaign(num_requests=6)
    frugal = make_engine(family, num_slots=3, prefill_budget=10)

    completions = decode(frugal, requests)

    assert token_ids(completions) == answers(oracle, requests)


def test_streams_on_different_weights_do_not_mix_their_prefixes(engine: Engine, oracle: Oracle) -> None:
    requests = [Request(i, pad_with_reference((*COMMON, i)), strength=0.9, max_tokens=8) for i in range(4)]

    completions = decode(engine, requests)

    assert token_ids(completions) == answers(oracle, requests)


def test_a_prefix_survives_that_its_readers_end_or_are_cancelled(engine: Engine, oracle: Oracle) -> None:
    requests = a_campaign(num_requests=12)
    outcomes = []
    for request in requests:
        engine.add(request)
    for _ in range(9):
        outcomes += engine.step()

    for request_id in (1, 5, 11):  # ended, decoding or waiting, as it happens
        engine.cancel(request_id)
    outcomes += engine.generate([])

    tokens = {outcome.request_id: outcome.token_ids for outcome in outcomes if isinstance(outcome, Completion)}
    expected = answers(oracle, requests)
    assert tokens.keys() >= expected.keys() - {1, 5, 11}
    assert tokens == {key: expected[key] for key in tokens}
    assert engine.num_active == 0


def test_many_prefixes_come_to_an_end_however_few_can_be_kept(
    family: Family, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.prefill.MAX_PREFIX_TOKENS", 5)
    forgetful = make_engine(family, num_slots=3)
    texts = [prompt(200 + i % 5, 2 * WINDOW) + prompt(i, 3) for i in range(15)]
    requests = [Request(i, mixture(text), strength=0.6, max_tokens=2) for i, text in enumerate(texts)]
    for request in requests:
        forgetful.add(request)

    outcomes = [outcome for _ in range(200) for outcome in forgetful.step()]

    tokens = {outcome.request_id: outcome.token_ids for outcome in outcomes if isinstance(outcome, Completion)}
    assert tokens == answers(oracle, requests)
