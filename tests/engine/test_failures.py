from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.engine.conftest import ARCHITECTURES, make_engine
from tests.engine.models import Family, save, save_adapter
from tests.engine.requests import METHODS, decode, mixed_batch, pad, pad_with_reference, plain, prompt, token_ids
from worker.engine import Completion, Engine, Failure, OutOfMemoryError, Request, load_engine
from worker.engine.runner import NewRow, Runner, vocabulary_head

POISON = 95


def without_poison(seed: int, num_tokens: int) -> tuple[int, ...]:
    return tuple(token_id % POISON for token_id in prompt(seed, num_tokens))


@pytest.fixture(params=[*ARCHITECTURES])
def poisoned(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """A model with one token whose embedding is not a number, and whose logit never wins."""
    model = ARCHITECTURES[request.param](seed=0, tie_word_embeddings=False)
    adapter = save_adapter(ARCHITECTURES[request.param](seed=0, tie_word_embeddings=False), tmp_path / "policy", seed=1)
    with torch.no_grad():
        model.get_input_embeddings().get_parameter("weight")[POISON] = torch.nan
        vocabulary_head(model).weight[POISON] = 0
    return load_engine(save(model, tmp_path / "base"), adapter, num_slots=4)


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


def fail_when(monkeypatch: pytest.MonkeyPatch, num_rows: int, error: Exception, *, after: int = 0) -> list[int]:
    """Forward passes of more rows than this fail, once some have succeeded; the sizes of those that failed."""
    forward = Runner._forward  # noqa: SLF001 (the narrowest place where a device runs out of memory)
    calls = [0]
    failed = []

    def limited(runner: Runner, tokens: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] > after and len(tokens) > num_rows:
            failed.append(len(tokens))
            raise error
        return forward(runner, tokens, positions, visible)

    monkeypatch.setattr(Runner, "_forward", limited)
    return failed


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
]


@pytest.mark.parametrize("error", ERRORS, ids=["device", "cpu"])
@pytest.mark.parametrize("after", [0, 1, 7, 12])
def test_running_out_of_memory_halves_the_slots_and_changes_no_answer(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception, after: int
) -> None:
    requests = mixed_batch()
    expected = token_ids(decode(engine, requests))
    wide = make_engine(family, num_slots=16)
    failed = fail_when(monkeypatch, 9, error, after=after)

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

    def limited(runner: Runner, new: Sequence[NewRow]) -> Tensor:
        if runner is fresh._models.runners[1] and next(failures, False):  # noqa: SLF001 (as above)
            raise ERRORS[0]
        return run(runner, new)

    fresh.add(requests[0])
    fresh.step()
    monkeypatch.setattr(Runner, "run", limited)
    completions = decode(fresh, requests[1:])

    assert token_ids(completions) == expected
    assert fresh.num_slots < 8


def test_no_memory_for_a_single_request_is_an_error(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = make_engine(family)
    fail_when(monkeypatch, 0, ERRORS[0])
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
