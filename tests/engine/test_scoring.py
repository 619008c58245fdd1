"""How likely the weights hold a given completion, against plain transformers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.engine.conftest import make_engine
from tests.engine.forwards import OUT_OF_MEMORY, fail_when, watch
from tests.engine.models import (
    ARCHITECTURES,
    MAX_LENGTH,
    POISON,
    VOCAB_SIZE,
    Family,
    llama,
    merge,
    read,
    save,
    save_adapter,
    save_family,
    save_poisoned,
    tiny,
)
from tests.engine.requests import decode, mixed_batch, plain, prompt, token_ids
from worker.engine import Engine, Failure, Request, Score, ScoreRequest, load_engine, scoring


def text(seed: int, num_prompt: int, num_completion: int, weights: str = "base") -> ScoreRequest:
    return ScoreRequest(
        request_id=f"{weights} {seed}",
        weights=weights,
        prompt_ids=prompt(seed, num_prompt),
        completion_ids=prompt(seed + 1000, num_completion),
    )


def some_texts(weights: tuple[str, ...] = ("base", "policy")) -> list[ScoreRequest]:
    """Of unequal lengths, and in no order of them."""
    return [text(seed, 1 + 7 * seed % 19, 1 + 5 * seed % 23, weights[seed % len(weights)]) for seed in range(12)]


@torch.no_grad()
def expected(model: PreTrainedModel, request: ScoreRequest) -> list[float]:
    ids = torch.tensor([[*request.prompt_ids, *request.completion_ids]])
    of_all: Tensor = model(input_ids=ids, use_cache=False).logits
    chosen = of_all[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return chosen[len(request.prompt_ids) - 1 :].tolist()


def scores(engine: Engine, requests: list[ScoreRequest]) -> list[Score]:
    """Of requests none of which may fail."""
    outcomes = engine.score(requests)
    assert [outcome.request_id for outcome in outcomes] == [request.request_id for request in requests]
    return [outcome for outcome in outcomes if isinstance(outcome, Score)]


def compare(engine: Engine, requests: list[ScoreRequest], models: dict[str, PreTrainedModel]) -> None:
    for request, found in zip(requests, scores(engine, requests), strict=True):
        wanted = expected(models[request.weights], request)
        assert found.log_probabilities == pytest.approx(wanted, abs=2e-4)
        assert len(found.log_probabilities) == len(request.completion_ids)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_scores_equal_those_of_plain_transformers(model_type: str, tmp_path: Path) -> None:
    family = save_family(model_type, tmp_path)
    models = {
        "base": read(family.base),
        "policy": merge(read(family.base), family.policy),
        "reference": read(family.reference),
    }

    texts = some_texts(("base", "policy", "reference"))
    engine = make_engine(family)
    compare(engine, texts, models)
    engine._scheduler.prefill_budget = 5  # noqa: SLF001 (as if loaded so) most texts exceed it, and are read in parts
    compare(engine, texts, models)


def test_an_adapter_on_the_head_takes_part(tmp_path: Path) -> None:
    base = tiny("llama", seed=0, tie_word_embeddings=False)
    path = save(base, tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "policy", seed=1, target_modules=["v_proj", "lm_head"])

    engine = load_engine(path, adapter, device="cpu")

    compare(engine, some_texts(), {"base": read(path), "policy": merge(read(path), adapter)})


def test_a_text_scores_the_same_alone_in_a_batch_and_over_a_head_in_parts(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = some_texts()
    together = [score.log_probabilities for score in scores(engine, requests)]

    alone = [scores(engine, [request])[0].log_probabilities for request in requests]
    few_at_once = make_engine(family, prefill_budget=30)
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 3 * VOCAB_SIZE)
    in_parts = [score.log_probabilities for score in scores(few_at_once, requests)]

    for some in (alone, in_parts):
        for one, other in zip(some, together, strict=True):
            assert one == pytest.approx(other, abs=2e-5)


def test_texts_are_read_together_within_the_budget(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    by_tokens = make_engine(family, prefill_budget=40, num_slots=4)
    by_rows = make_engine(family, num_slots=3)
    forwards = watch(monkeypatch)

    scores(by_tokens, [text(99, 50, 50)] + [text(seed, 5, 6) for seed in range(20)])
    scores(by_rows, [text(seed, 5, 6) for seed in range(20)])

    assert forwards.sizes == [40, 40, 40, 40, 40, *(40, 40, 19), 60, 60, 60, 20]


def test_every_forward_is_told_of(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large model on a CPU takes long for each; whoever waits for a long text must see that it goes on."""
    engine = make_engine(family, prefill_budget=40)
    forwards = watch(monkeypatch)
    told: list[int] = []

    engine.score([text(99, 50, 50), *some_texts()], on_forward=lambda: told.append(len(forwards.sizes)))

    assert told == list(range(1, len(forwards.sizes) + 1))


def test_requests_that_are_being_decoded_go_on_as_if_nothing_had_been(family: Family, engine: Engine) -> None:
    requests = mixed_batch()
    answers = token_ids(decode(engine, requests))
    busy = make_engine(family, num_slots=6, prefill_budget=20)
    for request in requests:
        busy.add(request)

    outcomes = []
    while busy.num_active or busy.num_waiting:
        outcomes += busy.step()
        scores(busy, some_texts()[:2])

    assert {
        outcome.request_id: outcome.token_ids for outcome in outcomes if not isinstance(outcome, Failure)
    } == answers


def test_a_text_that_cannot_be_scored_fails_alone(engine: Engine) -> None:
    good = text(1, 5, 5)
    bad = {
        "empty_text": ScoreRequest(request_id=1, prompt_ids=(), completion_ids=(1,)),
        "unknown_weights": ScoreRequest(request_id=2, weights="nobody", prompt_ids=(1,), completion_ids=(1,)),
        "text_too_long": text(3, MAX_LENGTH, 1),
        "token_out_of_range": ScoreRequest(request_id=4, prompt_ids=(1,), completion_ids=(VOCAB_SIZE,)),
    }

    first, *failures, last = engine.score([good, *bad.values(), good])

    assert [failure.code for failure in failures if isinstance(failure, Failure)] == list(bad)
    assert first == last
    assert isinstance(first, Score)
    assert scores(engine, [text(3, MAX_LENGTH - 1, 1)])


def test_a_completion_without_tokens_is_refused_with_a_sentence(engine: Engine) -> None:
    (outcome,) = engine.score([ScoreRequest(request_id="nothing", prompt_ids=(1, 2), completion_ids=())])

    assert outcome == Failure(
        "nothing", "empty_text", "A text to score needs at least one prompt token and one completion token."
    )


def test_a_text_with_broken_logits_fails_alone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    poisoned = load_engine(*save_poisoned("llama", tmp_path), device="cpu")
    healthy = [
        ScoreRequest(
            request_id=request.request_id,
            prompt_ids=tuple(token % POISON for token in request.prompt_ids),
            completion_ids=tuple(token % POISON for token in request.completion_ids),
        )
        for request in some_texts()
    ]
    wanted = scores(poisoned, healthy)
    broken = ScoreRequest(request_id="broken", prompt_ids=(1, 2), completion_ids=(POISON, *range(30)))

    (failure,) = poisoned.score([broken])
    short_beside_long = scores(poisoned, healthy)
    *beside, _ = poisoned.score([*healthy, broken])

    assert failure == Failure("broken", "non_finite_logits", "The logits of this text are not finite.")
    assert short_beside_long == wanted
    assert beside == wanted
    assert scores(poisoned, healthy) == wanted
    assert decode(poisoned, mixed_batch()[:1])


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["device", "CPU"])
def test_running_out_of_memory_halves_what_is_read_at_once(
    family: Family, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    requests = some_texts()
    wanted = scores(make_engine(family), requests)
    narrow = make_engine(family)
    failed = fail_when(monkeypatch, 4, error)

    found = scores(narrow, requests)

    assert failed
    for one, other in zip(found, wanted, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=2e-5)


def test_a_text_for_which_there_is_no_memory_at_all_fails_with_a_sentence(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(family)
    fail_when(monkeypatch, 0, OUT_OF_MEMORY[0])

    outcomes = engine.score(some_texts())

    assert {outcome.code for outcome in outcomes if isinstance(outcome, Failure)} == {"out_of_memory"}
    assert len(outcomes) == len(some_texts())
    monkeypatch.undo()
    assert decode(engine, mixed_batch())


def test_a_completion_that_was_decoded_is_the_likeliest_at_every_step(engine: Engine) -> None:
    asked = [Request(seed, plain(prompt(seed, 6)), max_tokens=8) for seed in range(6)]
    answers = token_ids(decode(engine, asked))
    (stream,), tokens = max(
        ((request.streams, answers[request.request_id]) for request in asked), key=lambda pair: len(pair[1])
    )
    rivals = [
        tuple((token + 1) % VOCAB_SIZE if i == at else token for i, token in enumerate(tokens)) for at in range(3)
    ]

    best, *others = scores(
        engine,
        [
            ScoreRequest(request_id=i, prompt_ids=stream.prompt, completion_ids=ids)
            for i, ids in enumerate([tokens, *rivals])
        ],
    )

    for at, other in enumerate(others):
        assert other.log_probabilities[:at] == pytest.approx(best.log_probabilities[:at], abs=2e-5)
        assert other.log_probabilities[at] < best.log_probabilities[at]


def test_the_tiny_llama_is_not_so_flat_that_anything_would_pass() -> None:
    request = text(1, 5, 12)

    found = expected(llama(seed=0), request)

    assert max(found) - min(found) > 1.0
