"""A GPU is given its next step before the host has seen the last one's tokens. The same order of events, on a CPU."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.engine.conftest import make_engine
from tests.engine.forwards import OUT_OF_MEMORY, fail_when
from tests.engine.models import POISON, Family, save_poisoned
from tests.engine.requests import contrast, decode, mixed_batch, mixture, pad, plain, prompt, token_ids
from worker.engine import Completion, Engine, Failure, Request, load_engine


@pytest.fixture
def family(families: dict[str, Family]) -> Family:
    return families["llama"]


def ahead(engine: Engine) -> Engine:
    engine._num_ahead = 1  # noqa: SLF001 (what the engine does on a GPU)
    return engine


def until_the_seventh(token_ids: Sequence[int]) -> int | None:
    return 6 if len(token_ids) == 7 else None


def requests() -> list[Request]:
    """They end by length, at the end of sequence or by a stop condition; prompts are short, shared or in pieces."""
    common = prompt(50, 30)
    return [
        *mixed_batch(max_tokens=16),
        *(Request(f"stop {i}", pad(prompt(i, 3 + i)), strength=0.7, stop=until_the_seventh) for i in range(4)),
        *(Request(f"shared {i}", contrast((*common, i)), strength=0.5, max_tokens=5 + i) for i in range(4)),
        *(Request(f"one {i}", mixture(prompt(i, 40)), strength=0.5, max_tokens=1) for i in range(3)),
        Request("to the last position", plain(prompt(9, 236)), max_tokens=20),
    ]


@cache
def expected_of(engine: Engine) -> dict[int | str, Completion]:
    return decode(engine, requests())


@pytest.mark.parametrize("prefill_budget", [4096, 25])
def test_a_step_ahead_changes_no_completion(family: Family, engine: Engine, prefill_budget: int) -> None:
    early = ahead(make_engine(family, num_slots=5, prefill_budget=prefill_budget))

    completions = decode(early, requests())

    expected = expected_of(engine)
    assert token_ids(completions) == token_ids(expected)
    for key, completion in completions.items():
        assert completion.finish_reason == expected[key].finish_reason
        assert completion.num_completion_tokens == expected[key].num_completion_tokens
        assert (completion.rewards or ()) == pytest.approx(expected[key].rewards or (), abs=1e-4)
    assert (early.num_active, early.num_waiting) == (0, 0)


@pytest.mark.parametrize("after", [1, 20])
def test_running_out_of_memory_a_step_ahead_changes_no_answer(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    expected = token_ids(expected_of(engine))
    early = ahead(make_engine(family, num_slots=16, prefill_budget=100))
    failed = fail_when(monkeypatch, 9, OUT_OF_MEMORY[0], after=after)

    completions = decode(early, requests())

    assert failed
    assert token_ids(completions) == expected


def test_the_last_of_two_is_not_out_of_memory_when_the_other_has_just_ended(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [Request(i, plain(prompt(i, 4)), max_tokens=n) for i, n in enumerate([3, 8])]
    expected = token_ids(decode(engine, both))
    early = ahead(make_engine(family))
    for request in both:
        early.add(request)
    outcomes = [*early.step(), *early.step(), *early.step()]

    failed = fail_when(monkeypatch, 1, OUT_OF_MEMORY[0])  # the fourth step would still run both
    outcomes += early.generate([])

    assert failed == [2]
    assert {c.request_id: c.token_ids for c in outcomes if isinstance(c, Completion)} == expected


def test_a_broken_row_fails_alone_a_step_ahead(tmp_path: Path) -> None:
    paths = save_poisoned("llama", tmp_path)
    healthy = [Request(i, pad((1, 2, *range(i))), strength=0.6, max_tokens=6 + i) for i in range(8)]
    broken = [Request(f"broken {i}", pad((POISON, *range(3 * i))), strength=0.6) for i in range(4)]
    expected = token_ids(decode(load_engine(*paths), healthy))
    early = ahead(load_engine(*paths, num_slots=3))

    pairs = zip(broken, healthy, strict=False)
    outcomes = list(early.generate([*(request for pair in pairs for request in pair), *healthy[len(broken) :]]))

    assert {o.request_id for o in outcomes if isinstance(o, Failure)} == {request.request_id for request in broken}
    assert {c.request_id: c.token_ids for c in outcomes if isinstance(c, Completion)} == expected


def test_an_id_that_was_cancelled_and_is_used_again_gets_nothing_of_its_former_owner(
    family: Family, engine: Engine
) -> None:
    again = Request("same", pad(prompt(2, 6)), strength=0.9, max_tokens=10)
    expected = decode(engine, [again])["same"].token_ids
    early = ahead(make_engine(family))
    early.add(Request("same", mixture(prompt(1, 9)), strength=0.5))
    early.step()
    early.step()

    early.cancel("same")
    early.add(again)

    assert decode(early, [])["same"].token_ids == expected
