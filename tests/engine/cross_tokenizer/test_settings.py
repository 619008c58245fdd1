"""Everything that shapes a distribution does so where guides judge texts: the engine against whole texts, and stops."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.engine.cross_tokenizer.pairs import CrossOracle, Pair, id_of_end, tokenizer_of
from tests.engine.requests import decode
from worker.engine import Completion, Engine, FinishReason, Request, Stream, TokenRewards

Prompts = Mapping[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def prompts(pair: Pair) -> Prompts:
    of_base, of_guide = tokenizer_of(pair.base), tokenizer_of(pair.reference)
    told, plain = "You are the hat, the tea", "the tea"
    return {
        "base": tuple(of_base.encode(plain).ids),
        "told": tuple(of_guide.encode(told).ids),
        "other": tuple(of_guide.encode("it was ที่ gone, the tea").ids),
        "plain": tuple(of_guide.encode(plain).ids),
        "end": (id_of_end(of_base),),
    }


def pad(prompts: Prompts) -> tuple[Stream, ...]:
    told = prompts["told"]
    return (Stream("base", prompts["base"]), Stream("policy", told, reward=1.0), Stream("reference", told, reward=-1.0))


def mixture(prompts: Prompts) -> tuple[Stream, ...]:
    return (
        Stream("base", prompts["base"]),
        Stream("policy", prompts["told"], reward=0.7),
        Stream("policy", prompts["other"], reward=-0.3),
        Stream("reference", prompts["plain"], reward=-0.4),
    )


def against_the_base(prompts: Prompts) -> tuple[Stream, ...]:
    return (Stream("base", prompts["base"], reward=-1.0), Stream("policy", prompts["told"], reward=1.0))


def contrast(prompts: Prompts) -> tuple[Stream, ...]:
    return (
        Stream("base", (*prompts["base"], 9), reward=1.0),
        Stream("base", prompts["base"], reward=-1.0),
        Stream("reference", prompts["plain"], reward=0.5),
    )


def shaped(prompts: Prompts) -> list[Request]:
    (end,) = prompts["end"]
    penalised: dict[str, Any] = {"repetition_penalty": 1.4, "frequency_penalty": 0.6, "presence_penalty": -0.5}
    late: dict[str, Any] = {"min_tokens": 4, "logit_bias": ((end, 9.0),)}
    drawn: dict[str, Any] = {"temperature": 1.2, "top_p": 0.8, "min_p": 0.05, "seed": 5}
    return [
        Request("mixture", mixture(prompts), 2.0, k=5, max_tokens=5, return_rewards=True, **penalised),
        Request("late", pad(prompts), 1.5, k=5, max_tokens=6, return_rewards=True, **late),
        Request("drawn", mixture(prompts), 1.0, k=8, max_kl=0.3, max_tokens=5, return_rewards=True, **drawn),
        Request("all", against_the_base(prompts), -0.8, k=5, max_tokens=5, return_rewards=True, **penalised, **drawn),
        Request("contrast", contrast(prompts), 0.9, k=5, max_tokens=5, return_rewards=True),
    ]


def test_penalties_lengths_nuclei_mixtures_and_budgets_are_those_of_whole_texts(
    crossed: Engine, cross_oracle: CrossOracle, prompts: Prompts
) -> None:
    requests = shaped(prompts)

    completions = decode(crossed, requests)

    for request in requests:
        expected, found = cross_oracle.answer(request), completions[request.request_id]
        assert found.token_ids == expected.token_ids, request.request_id
        assert found.rewards == pytest.approx(expected.rewards, abs=1e-4)
    assert len(completions["late"].token_ids) == 4
    assert completions["late"].end_token_id == prompts["end"][0]


def test_what_guided_a_penalised_mixture_is_said(crossed: Engine, cross_oracle: CrossOracle, prompts: Prompts) -> None:
    request = shaped(prompts)[0]
    token_ids = decode(crossed, [request])["mixture"].token_ids

    found = crossed.token_rewards(request, token_ids)

    assert isinstance(found, TokenRewards)
    for number, token in enumerate(found.tokens):
        expected = cross_oracle.place(request, token_ids[:number], token.token_id)
        assert (token.reward, token.kl) == pytest.approx((expected.reward, expected.kl), abs=1e-4)
        assert [candidate.token_id for candidate in token.candidates] == [*expected.candidates]


def test_a_stop_ends_a_text_and_the_tokens_so_far_can_be_seen(crossed: Engine, prompts: Prompts) -> None:
    whole = decode(crossed, [Request("x", pad(prompts), 1.5, k=5, max_tokens=6)])["x"].token_ids
    seen: list[tuple[int, ...]] = []

    def stop(token_ids: Sequence[int]) -> int | None:
        return 2 if len(token_ids) == 4 else None

    crossed.add(Request("x", pad(prompts), 1.5, k=5, max_tokens=6, stop=stop))
    ended: list[object] = []
    while not ended:
        ended = [*crossed.step()]
        seen.append(crossed.token_ids("x"))

    (completion,) = ended
    assert isinstance(completion, Completion)
    assert (completion.token_ids, completion.finish_reason) == (whole[:2], FinishReason.STOP)
    assert seen == [whole[:1], whole[:2], whole[:3], ()]


def test_what_is_not_guided_decides_among_all_tokens_beside_what_is(
    crossed: Engine, cross_oracle: CrossOracle, prompts: Prompts
) -> None:
    held_out = Request("held out", pad(prompts), strength=0.0, k=None, temperature=0.9, seed=3, max_tokens=5)
    base = Request("base", pad(prompts)[:1], k=300, temperature=0.9, seed=3, max_tokens=5)

    found = decode(crossed, [*shaped(prompts), held_out])["held out"]

    assert found.token_ids == cross_oracle.answer(base).token_ids
    assert found.reward is None
