import random
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.engine.conftest import make_engine
from tests.engine.forwards import OUT_OF_MEMORY, fail_when
from tests.engine.models import POISON, VOCAB_SIZE, Family, save_poisoned
from tests.engine.requests import METHODS, decode, mixed_batch, pad, pad_with_reference, plain, prompt, token_ids
from worker.engine import Completion, Engine, Failure, OutOfMemoryError, Request, load_engine
from worker.engine.rows import PromptChunk
from worker.engine.runner import Runner

WHOLE_PROMPTS, PIECES = 4096, 8
"""Prefill budgets."""


def without_poison(seed: int, num_tokens: int) -> tuple[int, ...]:
    return tuple(token_id % POISON for token_id in prompt(seed, num_tokens))


@pytest.fixture
def family(families: dict[str, Family]) -> Family:
    return families["llama"]


@pytest.fixture(params=[("llama", WHOLE_PROMPTS), ("gpt2", PIECES)])
def poisoned(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    model_type, prefill_budget = request.param
    return load_engine(*save_poisoned(model_type, tmp_path), num_slots=4, prefill_budget=prefill_budget)


@pytest.mark.parametrize("broken_first", [True, False])
def test_a_row_with_non_finite_logits_fails_alone(poisoned: Engine, *, broken_first: bool) -> None:
    healthy = [
        Request(index, METHODS[method](without_poison(index, 3 + 2 * index)), strength=0.6, max_tokens=8 + index)
        for index, method in enumerate(["none", "pad", "mixture", "contrast", "pad", "none"])
    ]
    expected = decode(poisoned, healthy)
    broken = [
        Request("whole prompt", plain((POISON,) * 20)),
        Request("first token", pad((POISON, 1, 2)), strength=0.5),
        Request("last token", plain((*without_poison(9, 30), POISON))),
        Request("policy only", (plain((1, 2))[0], pad((POISON, 2))[1]), strength=0.5),
    ]

    # Interleaved, so that healthy requests are prefilled beside broken ones and take over their rows.
    pairs = zip(broken, healthy, strict=False) if broken_first else zip(healthy, broken, strict=False)
    outcomes = list(poisoned.generate([*(request for pair in pairs for request in pair), *healthy[len(broken) :]]))

    failures = {outcome.request_id: outcome.code for outcome in outcomes if isinstance(outcome, Failure)}
    assert failures == {request.request_id: "non_finite_logits" for request in broken}
    completions = {outcome.request_id: outcome for outcome in outcomes if isinstance(outcome, Completion)}
    assert token_ids(completions) == token_ids(expected)


@pytest.mark.parametrize("how", ["cancelled", "evicted"])
def test_a_half_read_prompt_with_broken_states_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    frugal = load_engine(*save_poisoned("llama", tmp_path), prefill_budget=80)
    broken = Request("broken", pad((*without_poison(0, 50), POISON, *without_poison(1, 30))), strength=0.5)
    healthy = [Request(i, pad(without_poison(i, n)), strength=0.5, max_tokens=8) for i, n in enumerate([3, 40, 5, 6])]
    expected = token_ids(decode(frugal, healthy))
    frugal.add(broken)
    frugal.step()
    frugal.step()  # the poison is read, the prompt is not at its end

    if how == "evicted":
        fail_when(monkeypatch, 0, OUT_OF_MEMORY[0])
        with pytest.raises(OutOfMemoryError):
            frugal.step()
        monkeypatch.undo()
    frugal.cancel("broken")

    assert token_ids(decode(frugal, healthy)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_half_read_prompt_with_broken_states_leaves_nothing_where_its_row_has_been(tmp_path: Path, seed: int) -> None:
    """Rows move when others end: what one of them leaves in its old place would reach whoever comes to lie there."""
    rng = random.Random(seed)
    engine = load_engine(*save_poisoned("llama", tmp_path), num_slots=4, prefill_budget=PIECES)
    healthy = [
        Request(index, pad(without_poison(index, rng.choice([2, 20, 40]))), strength=0.5, max_tokens=rng.randint(1, 8))
        for index in range(6)
    ]
    broken = [
        Request(f"broken {index}", pad((*without_poison(index, 3), POISON, *without_poison(9, rng.randint(20, 60)))))
        for index in range(3)
    ]
    expected = token_ids(decode(engine, healthy))

    outcomes = engine.generate(rng.sample([*healthy, *broken], 9))

    completions = {outcome.request_id: outcome for outcome in outcomes if isinstance(outcome, Completion)}
    assert token_ids(completions) == expected


def ruling_out(monkeypatch: pytest.MonkeyPatch, token_ids: Collection[int]) -> None:
    """Have the policy give these tokens no probability at all."""
    columns = Runner.columns

    def ruled_out(runner: Runner, hidden: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
        logits = columns(runner, hidden, rows, candidates)
        return logits.masked_fill(torch.isin(candidates, torch.tensor([*token_ids])), -torch.inf)

    monkeypatch.setattr(Runner, "columns", ruled_out)


def test_a_token_to_which_the_policy_gives_no_probability_is_not_chosen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request("r", pad((1, 2, 3)), strength=0.5, max_tokens=4, max_kl=0.5)
    first, *_ = decode(engine, [request])["r"].token_ids

    ruling_out(monkeypatch, {first})

    assert first not in decode(engine, [request])["r"].token_ids[:1]


def test_a_policy_that_rules_out_every_candidate_fails_the_request(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruling_out(monkeypatch, range(VOCAB_SIZE))

    (outcome,) = engine.generate([Request("r", pad((1, 2, 3)), strength=0.5)])

    assert isinstance(outcome, Failure)
    assert outcome.code == "non_finite_logits"


@pytest.mark.parametrize(
    ("after", "prefill_budget"), [(0, WHOLE_PROMPTS), (7, WHOLE_PROMPTS), (1, PIECES), (10, PIECES)]
)
def test_running_out_of_memory_halves_the_slots_and_changes_no_answer(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch, after: int, prefill_budget: int
) -> None:
    requests = mixed_batch()
    expected = token_ids(decode(engine, requests))
    wide = make_engine(family, num_slots=16, prefill_budget=prefill_budget)
    failed = fail_when(monkeypatch, 9, OUT_OF_MEMORY[after % 2], after=after)

    completions = decode(wide, requests)

    assert failed
    assert wide.num_slots < 16
    assert token_ids(completions) == expected


def test_running_out_of_memory_in_a_second_model_leaves_the_first_consistent(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(i, pad_with_reference(prompt(i, 3 + i)), strength=0.8, max_tokens=9 + i) for i in range(8)]
    expected = token_ids(decode(engine, requests))
    fresh = make_engine(family)
    run = Runner.run
    failures = iter([False, False, True, False, True])

    def limited(runner: Runner, pieces: Sequence[PromptChunk]) -> Tensor:
        if runner is fresh._models.runners[1] and next(failures, False):  # noqa: SLF001 (the second model)
            raise OUT_OF_MEMORY[0]
        return run(runner, pieces)

    fresh.add(requests[0])
    fresh.step()
    monkeypatch.setattr(Runner, "run", limited)
    completions = decode(fresh, requests[1:])

    assert token_ids(completions) == expected
    assert fresh.num_slots < 8


def test_running_out_of_memory_at_the_vocabulary_head_repeats_the_step(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = mixed_batch()
    expected = token_ids(decode(engine, requests))
    fresh = make_engine(family, num_slots=16, prefill_budget=60)
    columns = Runner.columns
    failures = iter([False, True, False, False, True])

    def limited(runner: Runner, hidden: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
        if next(failures, False):
            raise OUT_OF_MEMORY[0]
        return columns(runner, hidden, rows, token_ids)

    monkeypatch.setattr(Runner, "columns", limited)
    completions = decode(fresh, requests)

    assert next(failures, None) is None
    assert token_ids(completions) == expected


def test_no_memory_for_a_single_request_is_an_error(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = make_engine(family)
    fail_when(monkeypatch, 0, OUT_OF_MEMORY[0])
    for index in range(4):
        fresh.add(Request(index, plain((1, 2, 3))))

    assert fresh.step() == []
    assert fresh.step() == []
    with pytest.raises(OutOfMemoryError, match="no memory left for a single request"):
        fresh.step()


def test_other_errors_of_a_forward_pass_are_not_hidden(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = make_engine(family)
    fail_when(monkeypatch, 0, RuntimeError("device-side assert triggered"))
    fresh.add(Request(0, plain((1, 2, 3))))

    with pytest.raises(RuntimeError, match="device-side assert"):
        fresh.step()
