"""Penalties, bias and minimum lengths, against Hugging Face's processors and against their formulas."""

from collections.abc import Sequence

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from tests.engine.models import EOS, VOCAB_SIZE, Family, read
from tests.engine.oracle import Oracle
from tests.engine.requests import decode, mixture, pad, plain, prompt
from worker.engine import Engine, FinishReason, Request
from worker.engine.guidance.processors import build_processors
from worker.engine.sequence import Sequence as Decoded
from worker.engine.streams import StreamWeights, guided_streams

PENALTIES = [1.0, 1.2, 1.9, 0.7]


def generated(family: Family, text: tuple[int, ...], **options: float) -> tuple[int, ...]:
    """By the model's own `generate`."""
    ids = read(family.base).generate(  # type: ignore[operator]  # transformers types it as a tensor
        torch.tensor([text]),
        attention_mask=torch.ones(1, len(text), dtype=torch.long),
        do_sample=False,
        pad_token_id=0,
        **options,
    )
    tokens = tuple(ids[0, len(text) :].tolist())
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


def decoded(request: Request) -> Decoded:
    return Decoded(request, guided_streams(request, {"base": StreamWeights(0)}))


@pytest.mark.parametrize("k", [10, None])
def test_greedy_texts_are_those_of_generate(family: Family, engine: Engine, k: int | None) -> None:
    requests = [
        Request(
            index,
            plain(prompt(index, 12)),
            k=k,
            max_tokens=20,
            min_tokens=5 * (index % 3),
            repetition_penalty=PENALTIES[index % 4],
        )
        for index in range(8)
    ]

    completions = decode(engine, requests)

    for request in requests:
        options = {"repetition_penalty": request.repetition_penalty, "min_new_tokens": request.min_tokens}
        expected = generated(family, request.streams[0].prompt, max_new_tokens=20, **options)
        assert completions[request.request_id].token_ids == expected


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_repetition_penalty_is_hugging_faces_to_the_last_bit(penalty: float) -> None:
    text = prompt(3, 30)
    logits = 5 * torch.randn(2, VOCAB_SIZE, generator=torch.Generator().manual_seed(1))
    sequences = [decoded(Request(0, plain(text), repetition_penalty=penalty, presence_penalty=1e-30))] * 2

    processors = build_processors(sequences, VOCAB_SIZE, [EOS], torch.device("cpu"))

    assert processors is not None
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([text, text]), logits.clone())
    with processors.applied(logits, torch.zeros(2)) as penalised:
        assert torch.equal(penalised, expected)


def test_presence_and_frequency_count_the_completion_alone() -> None:
    request = Request(0, plain((1, 2, 2)), presence_penalty=0.5, frequency_penalty=0.25)
    processors = build_processors([decoded(request)], 6, [], torch.device("cpu"))
    assert processors is not None
    for token_id in (2, 3, 3, 3):
        processors = processors.advanced(torch.tensor([token_id]))

    with processors.applied(torch.zeros(1, 6), torch.tensor([4])) as penalised:
        assert penalised.tolist() == [[0, 0, -0.75, -1.25, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_logits_that_are_judged_are_what_they_were_to_the_last_bit(dtype: torch.dtype) -> None:
    everything = Request(
        0,
        plain((1, 1, 3)),
        logit_bias=((1, 3.0), (2, 1e30), (EOS, 0.1)),
        repetition_penalty=1.3,
        frequency_penalty=0.3,
        min_tokens=5,
    )
    logits = torch.randn(2, VOCAB_SIZE, generator=torch.Generator().manual_seed(1)).to(dtype)
    before = logits.clone()

    processors = build_processors(
        [decoded(Request(1, plain((1,)))), decoded(everything)], VOCAB_SIZE, [EOS], torch.device("cpu")
    )

    assert processors is not None
    with processors.applied(logits, torch.zeros(2)) as processed:
        assert torch.equal(processed[0], before[0].float())
        assert processed[1, 2] == 1e30
        assert processed[1, EOS] == -torch.inf
        assert (processed[1] != before[1]).sum() == 4
    assert torch.equal(logits, before)


def test_what_only_keeps_tokens_from_coming_copies_no_logits() -> None:
    logits = torch.ones(2, 5, dtype=torch.bfloat16)
    processors = build_processors([decoded(Request(0, plain((1,)), min_tokens=1))] * 2, 5, [3], torch.device("cpu"))

    assert processors is not None
    with processors.applied(logits, torch.tensor([0, 1])) as processed:
        assert processed is logits
        assert processed.tolist() == [[1, 1, 1, -torch.inf, 1], [1] * 5]


def test_a_history_goes_on_where_slots_change(engine: Engine) -> None:
    requests = [
        Request(
            index,
            plain(prompt(index, 5 + 9 * (index % 2))),
            max_tokens=4 + 7 * (index % 4),
            repetition_penalty=1.9,
            frequency_penalty=0.4,
        )
        for index in range(12)
    ]
    alone = {request.request_id: decode(engine, [request])[request.request_id].token_ids for request in requests}

    together = decode(engine, requests)

    assert {key: completion.token_ids for key, completion in together.items()} == alone


def test_a_banned_token_does_not_come_and_a_favoured_one_does(engine: Engine) -> None:
    free = decode(engine, [Request(0, pad(prompt(4, 6)), strength=0.5, max_tokens=10)])[0].token_ids
    bias = tuple((token_id, -100.0) for token_id in sorted(set(free)))

    completions = decode(
        engine,
        [
            Request("banned", pad(prompt(4, 6)), strength=0.5, max_tokens=10, logit_bias=bias),
            Request("favoured", plain(prompt(4, 6)), max_tokens=10, logit_bias=((17, 100.0),)),
        ],
    )

    assert not set(free) & set(completions["banned"].token_ids)
    assert completions["favoured"].token_ids == (17,) * 10


def test_a_bias_changes_the_text_and_not_what_its_tokens_earn(engine: Engine, oracle: Oracle) -> None:
    request = Request(
        0, mixture(prompt(4, 6)), strength=0.5, max_tokens=3, return_rewards=True, logit_bias=((17, 100.0),)
    )

    completion = decode(engine, [request])[0]

    assert completion.token_ids == (17, 17, 17)
    assert completion.rewards == pytest.approx(oracle.answer(request).rewards, abs=1e-4)


def until_the_second(token_ids: Sequence[int]) -> int | None:
    return len(token_ids) if len(token_ids) >= 2 else None


def test_neither_the_end_of_sequence_nor_a_stop_ends_a_text_before_its_minimum(engine: Engine) -> None:
    ends = ((EOS, 100.0),)
    requests = [
        Request("at once", plain(prompt(5, 6)), logit_bias=ends),
        Request("after four", plain(prompt(5, 6)), logit_bias=ends, min_tokens=4),
        Request("sampled", plain(prompt(5, 6)), logit_bias=ends, min_tokens=4, temperature=1.0, k=None),
        Request("stop", plain(prompt(5, 6)), stop=until_the_second, min_tokens=4, logit_bias=((EOS, -100.0),)),
        Request("all", plain(prompt(5, 6)), logit_bias=ends, min_tokens=7, max_tokens=7),
    ]

    completions = decode(engine, requests)

    lengths = {key: len(completion.token_ids) for key, completion in completions.items()}
    assert lengths == {"at once": 0, "after four": 4, "sampled": 4, "stop": 4, "all": 7}
    assert completions["stop"].finish_reason is FinishReason.STOP
    assert completions["all"].finish_reason is FinishReason.LENGTH
