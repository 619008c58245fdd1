"""Models with recurrent layers: a row carries its state wherever it goes, and nothing else ever enters it."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.architectures.tiny import tiny as random_tiny
from bench.architectures.tiny import tiny_config
from tests.engine.forwards import OUT_OF_MEMORY, fail_when
from tests.engine.models import Family, read, save, save_adapter
from tests.engine.oracle import Oracle, generate_greedily
from tests.engine.recurrent_models import MAX_LENGTH, RECURRENT, save_recurrent_family
from tests.engine.requests import contrast, decode, mixture, pad_with_reference, plain, prompt, token_ids
from worker.engine import Completion, Engine, ModelError, Request, Score, ScoreRequest, load_engine
from worker.engine.batch_layout import Stretch, stretches
from worker.engine.layers import recurrent
from worker.engine.rows import PromptChunk

COMMON = prompt(100, 24)
LONG = prompt(101, 270)
BUDGET = 20
"""Prompt tokens of a step: most prompts are read in pieces, beside rows that decode."""


@pytest.fixture(scope="module", params=[*RECURRENT])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    name: str = request.param
    return save_recurrent_family(name, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def engine(family: Family) -> Engine:
    return load_recurrent(family)


def load_recurrent(family: Family) -> Engine:
    return load_engine(
        family.base,
        family.policy,
        family.reference,
        device="cpu",
        num_slots=4,
        prefill_budget=BUDGET,
        max_length=MAX_LENGTH,
    )


def ragged(num_requests: int = 7, max_tokens: int = 8) -> list[Request]:
    """More than there are slots, of all lengths, half of them with a common beginning."""
    texts = [(COMMON if index % 2 else ()) + prompt(index, 1 + 3 * index) for index in range(num_requests)]
    return [Request(i, plain(text), strength=0.0, max_tokens=max_tokens - i % 3) for i, text in enumerate(texts)]


def greedy(family: Family, requests: list[Request]) -> dict[int | str, tuple[int, ...]]:
    return {r.request_id: generate_greedily(family.base, r.streams[0].prompt, r.max_tokens) for r in requests}


def test_strength_zero_equals_generate(engine: Engine, family: Family) -> None:
    requests = [*ragged(), *(Request(f"long {i}", plain((*LONG, i)), strength=0.0, max_tokens=3) for i in range(2))]

    tokens = token_ids(decode(engine, requests))

    assert tokens == greedy(family, requests)
    assert len({token for completion in tokens.values() for token in completion}) > 15


def test_guided_requests_equal_the_oracle(engine: Engine, family: Family) -> None:
    methods, oracle = [pad_with_reference, mixture, contrast], Oracle.of(family)
    requests = [
        Request(
            index,
            methods[index % 3]((COMMON if index % 2 else ()) + prompt(index, 1 + 2 * index)),
            strength=0.8,
            temperature=(0.0, 0.9)[index % 2],
            seed=index,
            max_tokens=4,
        )
        for index in range(6)
    ]

    completions = decode(engine, requests)

    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}


def test_rows_that_move_when_others_leave_keep_their_state(engine: Engine, family: Family) -> None:
    requests = ragged(num_requests=8)
    outcomes: list[object] = []
    for request in requests:
        engine.add(request)
    for step in range(8):
        outcomes += engine.step()
        if step in (3, 6):
            engine.cancel(requests[step - 3].request_id)

    outcomes += engine.generate([])

    tokens = {outcome.request_id: outcome.token_ids for outcome in outcomes if isinstance(outcome, Completion)}
    expected = greedy(family, requests)
    assert len(tokens) >= 6
    assert tokens == {request_id: expected[request_id] for request_id in tokens}


def test_texts_are_scored_as_they_are_alone_beside_rows_that_decode(engine: Engine, family: Family) -> None:
    texts = [
        ScoreRequest(request_id=i, prompt_ids=prompt(i, 2 + 7 * i), completion_ids=prompt(50 + i, 3 + i))
        for i in range(5)
    ]
    requests = ragged(num_requests=3)
    for request in requests:
        engine.add(request)
    engine.step()

    scores = engine.score(texts)
    tokens = token_ids({o.request_id: o for o in engine.generate([]) if isinstance(o, Completion)})

    assert tokens == greedy(family, requests)
    model = read(family.base)
    for text, score in zip(texts, scores, strict=True):
        assert isinstance(score, Score)
        ids = torch.tensor([[*text.prompt_ids, *text.completion_ids]])
        with torch.no_grad():
            log_probabilities = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        expected = log_probabilities.gather(1, ids[0, 1:, None])[-len(text.completion_ids) :, 0]
        assert torch.allclose(torch.tensor(score.log_probabilities), expected, atol=1e-3)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return save_recurrent_family("qwen3_next", tmp_path_factory.mktemp("hybrid"))


def test_a_step_that_failed_half_way_changes_no_answer(hybrid: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layers have taken the token already: their rows begin again from the prompt."""
    engine, requests = load_recurrent(hybrid), ragged(num_requests=5)
    last = engine._models.runners[0].decoder.module.get_submodule("layers.1")  # noqa: SLF001 (behind the recurrent layer)
    forward, failures = last.forward, [OUT_OF_MEMORY[1]]

    def failing(hidden_states: torch.Tensor, **others: object) -> torch.Tensor:
        if hidden_states.shape[1] == 4 and failures:
            raise failures.pop()
        output: torch.Tensor = forward(hidden_states, **others)
        return output

    monkeypatch.setattr(last, "forward", failing)

    completions = decode(engine, requests)

    assert not failures
    assert token_ids(completions) == greedy(hybrid, requests)


def test_slots_are_halved_where_memory_runs_out(hybrid: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, requests = load_recurrent(hybrid), ragged(num_requests=6)
    failed = fail_when(monkeypatch, 2, OUT_OF_MEMORY[1])

    completions = decode(engine, requests)

    assert failed
    assert token_ids(completions) == greedy(hybrid, requests)


def test_models_that_begin_anew_with_several_tokens_are_given_them_one_by_one(tmp_path: Path) -> None:
    by_token = {}
    for name in ("mamba", "mamba2"):
        engine = load_recurrent(save_recurrent_family(name, tmp_path / name))
        by_token[name] = engine._models.runners[0]._cache.states.goes_on_by_token  # noqa: SLF001 (what the proof found)

    assert by_token == {"mamba": True, "mamba2": False}


@pytest.mark.parametrize(
    ("model_type", "limits"),
    [
        ("zamba2", {"time_step_min": 0.4}),
        ("nemotron_h", {"time_step_min": 0.4}),
        ("mamba2", {"time_step_limit": (0.4, 0.9)}),
        ("granitemoehybrid", {"time_step_limit": (0.4, 0.9)}),
        ("falcon_h1", {"time_step_limit": (0.4, 0.9), "ssm_multipliers": [0.7, 1.2, 0.8, 1.1, 0.6]}),
    ],
)
def test_time_steps_are_limited_where_one_token_is_read_as_where_several_are(
    model_type: str, limits: dict[str, object], tmp_path: Path
) -> None:
    """transformers limits them in whole texts alone: with its own limit Zamba 2 went on to other tokens."""

    def model(seed: int) -> PreTrainedModel:
        torch.manual_seed(seed)
        config = tiny_config(model_type)
        config.update(limits)
        made: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers'
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if parameter.ndim > 1 or name.endswith("dt_bias"):
                    parameter.normal_(std=0.4)
        return made

    paths = {name: save(model(seed), tmp_path / name) for seed, name in enumerate(("base", "reference"))}
    policy = save_adapter(model(0), tmp_path / "policy", seed=1, target_modules=["in_proj"])
    family = Family(paths["base"], policy, paths["reference"])
    requests = [
        Request(index, pad_with_reference(prompt(index, 1 + 4 * index)), strength=0.7, max_tokens=12)
        for index in range(4)
    ]

    completions = decode(load_recurrent(family), requests)

    oracle = Oracle.of(family)
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}


def test_the_proof_finds_a_time_step_that_is_not_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the usual limit, 0.001: logits were off by 0.05 %, which was taken for rounding, and other tokens written."""
    monkeypatch.setattr(recurrent, "_limit_time_steps", lambda _layer: None)

    with pytest.raises(ModelError, match="cached logits differ"):
        load_engine(save(random_tiny("zamba2"), tmp_path), device="cpu", max_length=128)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("name", "expected"), [("jamba", True), ("zamba", True), ("bamba", False)])
def test_whether_a_state_is_taken_up_is_seen_in_every_dtype(
    name: str, dtype: str, tmp_path: Path, *, expected: bool
) -> None:
    """In bfloat16 a Jamba that left out its states was within rounding: accepted, or refused, by chance of weights."""
    for seed in range(2):
        model = random_tiny(name, seed)
        path = save(model, tmp_path / str(seed))

        engine = load_engine(path, device="cpu", dtype=dtype, max_length=MAX_LENGTH)

        assert engine._models.runners[0]._cache.states.goes_on_by_token == expected  # noqa: SLF001 (as above)


def test_a_slots_share_of_the_memory_counts_its_state(hybrid: Family) -> None:
    runner = load_recurrent(hybrid)._models.runners[0]  # noqa: SLF001 (what the loader asks)

    # The convolution's last four inputs and the state of the delta rule, in the one recurrent layer.
    assert runner.bytes_per_row == 4 * (4 * (2 * 16 + 32) + 4 * 8 * 8)


def test_neighbours_share_a_stretch_if_they_are_equally_long_and_all_begin_or_all_go_on() -> None:
    sizes_and_starts = [(3, 0), (3, 0), (3, 5), (2, 5), (2, 9)]
    pieces = [
        PromptChunk(("r", index), 0, tuple(range(size)), start, is_last=True)
        for index, (size, start) in enumerate(sizes_and_starts)
    ]

    found = stretches(2, pieces, first_row=2)

    assert found == [
        Stretch(slice(0, 2), slice(0, 2), goes_on=True),
        Stretch(slice(2, 4), slice(2, 8), goes_on=False),
        Stretch(slice(4, 5), slice(8, 11), goes_on=True),
        Stretch(slice(5, 7), slice(11, 15), goes_on=True),
    ]
    assert [step.tokens for step in found[3].by_token()] == [slice(11, 15, 2), slice(12, 15, 2)]
    assert found[1].by_token() == [found[1]]
