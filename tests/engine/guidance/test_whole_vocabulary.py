"""Sampling without candidates: the distribution of Hugging Face's `generate`, by the noise that candidates have too."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

from tests.engine.models import VOCAB_SIZE, Family
from tests.engine.oracle import Oracle, generate_greedily
from tests.engine.requests import contrast, decode, plain, prompt, token_ids
from worker.engine import Engine, Request
from worker.engine.guidance.sampling import Draw, Tail, gumbel_noise, sample, sample_vocabulary

NUM_DRAWS = 20_000
NUM_DEVIATIONS = 6.0


def frequencies(logits: Tensor, temperature: float, top_p: float, min_p: float) -> Tensor:
    each = torch.ones(NUM_DRAWS, dtype=torch.float64)
    nucleus = None if top_p == 1 else top_p * each
    drawn = sample_vocabulary(
        logits.expand(NUM_DRAWS, -1),
        temperature * each,
        Tail(nucleus, min_p * each),
        Draw(torch.arange(NUM_DRAWS), torch.zeros(NUM_DRAWS, dtype=torch.long)),
    )
    return drawn.bincount(minlength=len(logits)) / NUM_DRAWS


@pytest.mark.parametrize(
    ("temperature", "top_p", "min_p"),
    [(1.0, 1.0, 0.0), (0.6, 0.8, 0.0), (1.7, 1.0, 0.15), (0.9, 0.9, 0.1), (1.3, 0.5, 0.4)],
)
def test_samples_follow_the_distribution_of_hugging_face(temperature: float, top_p: float, min_p: float) -> None:
    logits = 2 * torch.randn(60, generator=torch.Generator().manual_seed(4))
    warpers = LogitsProcessorList(
        [TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p), MinPLogitsWarper(min_p)]
    )
    expected = warpers(torch.zeros(1, 1, dtype=torch.long), logits[None])[0].softmax(0)  # type: ignore[arg-type]  # a tensor

    measured = frequencies(logits, temperature, top_p, min_p)

    deviation = (expected * (1 - expected) / NUM_DRAWS).sqrt()
    assert ((measured - expected).abs() <= NUM_DEVIATIONS * deviation).all()


def sampled(num_requests: int = 12) -> list[Request]:
    return [
        Request(
            index,
            plain(prompt(index, 3 + index)),
            k=None,
            temperature=(0.8, 1.5)[index % 2],
            top_p=(1.0, 0.9, 0.6)[index % 3],
            min_p=(0.0, 0.0, 0.0, 0.05)[index % 4],
            seed=index + 7,
            max_tokens=10,
        )
        for index in range(num_requests)
    ]


def test_the_whole_vocabulary_is_as_many_candidates_as_there_are_tokens(engine: Engine, oracle: Oracle) -> None:
    requests = sampled()
    counted = [replace(request, k=VOCAB_SIZE) for request in requests]

    completions = token_ids(decode(engine, requests))

    assert completions == token_ids(decode(engine, counted))
    assert completions == {r.request_id: oracle.answer(r, completions[r.request_id]).token_ids for r in requests}


def test_a_whole_vocabulary_beside_candidates_changes_neither(engine: Engine) -> None:
    whole = sampled()
    few = [
        Request(f"few {i}", contrast(prompt(i, 4)), strength=0.7, k=2 + i, temperature=1.1, seed=i) for i in range(6)
    ]
    expected = token_ids(decode(engine, whole)) | token_ids(decode(engine, few))

    together = [request for pair in zip(few, whole, strict=False) for request in pair] + whole[len(few) :]

    assert token_ids(decode(engine, together)) == expected


def test_without_temperature_it_is_the_models_own_greedy_text(family: Family, engine: Engine) -> None:
    requests = [Request(index, plain(prompt(index, 9)), k=None, max_tokens=15) for index in range(4)]

    completions = decode(engine, requests)

    for request in requests:
        expected = generate_greedily(family.base, request.streams[0].prompt, 15)
        assert completions[request.request_id].token_ids == expected


@pytest.mark.parametrize("temperature", [5e-324, 1e-200])
def test_a_tiny_temperature_is_greedy_with_its_guidance(engine: Engine, temperature: float) -> None:
    greedy = [
        *(Request(i, contrast(prompt(i, 4)), strength=1.5, max_tokens=12) for i in range(4)),
        *(Request(i, plain(prompt(i, 4)), k=None, max_tokens=12) for i in range(4, 8)),
    ]

    cold = [replace(request, temperature=temperature, top_p=0.9) for request in greedy]

    assert token_ids(decode(engine, cold)) == token_ids(decode(engine, greedy))


@pytest.mark.parametrize("kind", ["flat", "peaked", "tied", "with excluded tokens"])
@pytest.mark.parametrize("top_p", [0.05, 0.9, 0.999])
@pytest.mark.parametrize("min_p", [0.0, 0.02])
def test_a_nucleus_is_the_same_whether_all_is_sorted_or_its_head_alone(kind: str, top_p: float, min_p: float) -> None:
    generator = torch.Generator().manual_seed(5)
    num_rows, vocab_size = 130, 5000  # in several parts
    logits = torch.randn(num_rows, vocab_size, generator=generator) * {"flat": 0.1, "peaked": 6.0}.get(kind, 2.0)
    if kind == "tied":
        logits = (logits * 2).round() / 2
    if kind == "with excluded tokens":
        logits = logits.masked_fill(torch.rand(logits.shape, generator=generator) < 0.5, -torch.inf)
    each, seeds = torch.ones(num_rows, dtype=torch.float64), torch.arange(num_rows)

    tail = Tail(top_p * each, min_p * each)
    drawn = sample_vocabulary(logits, 0.8 * each, tail, Draw(seeds, seeds))

    noise = gumbel_noise(seeds, seeds, torch.arange(vocab_size).expand(num_rows, -1))
    assert torch.equal(drawn, sample(logits.double(), logits > -torch.inf, 0.8 * each, tail, noise))
