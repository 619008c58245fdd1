"""A guide with another tokenizer judges whole texts: the engine, which runs what is new, against all of each."""

from collections.abc import Sequence

import pytest

from tests.engine.cross_tokenizer.pairs import CrossOracle, Pair, tokenizer_of
from tests.engine.requests import decode
from worker.engine import Completion, Engine, Failure, Request, Stream, TokenRewards, load_engine

PROMPTS = ("the tea", "Nobody said", "the tea had gone", "it was ที่")


@pytest.fixture(scope="session")
def requests(pair: Pair) -> list[Request]:
    of_base, of_guide = tokenizer_of(pair.base), tokenizer_of(pair.reference)
    found = []
    for number, prompt in enumerate(PROMPTS):
        shown = tuple(of_guide.encode(f"You are a guide, {prompt}").ids)
        streams = (
            Stream("base", tuple(of_base.encode(prompt).ids)),
            Stream("policy", shown, reward=1.0),
            Stream("reference", shown, reward=-1.0),
        )
        found.append(
            Request(
                number,
                streams,
                strength=(1.0, 2.0, 0.5)[number % 3],
                max_kl=(None, 0.5)[number % 2],
                k=(6, 4)[number % 2],
                temperature=(0.0, 0.0, 0.0, 0.9)[number % 4],
                seed=number,
                max_tokens=6 - number % 2,
                return_rewards=True,
            )
        )
    return found


def test_tokens_and_rewards_are_those_of_whole_texts(
    crossed: Engine, cross_oracle: CrossOracle, requests: Sequence[Request]
) -> None:
    completions = decode(crossed, list(requests))

    for request in requests:
        expected, found = cross_oracle.answer(request), completions[request.request_id]
        assert found.token_ids == expected.token_ids
        assert found.rewards == pytest.approx(expected.rewards, abs=1e-4)
        assert found.kl == pytest.approx(sum(expected.kls) / len(expected.kls), abs=1e-4)


def test_neighbours_cancelled_requests_and_moved_rows_change_nothing(
    pair: Pair, crossed: Engine, requests: Sequence[Request]
) -> None:
    alone = {request.request_id: decode(crossed, [request])[request.request_id].token_ids for request in requests}
    plain = tuple(tokenizer_of(pair.base).encode("the house").ids)
    for number, max_tokens in enumerate((3, 5)):
        crossed.add(Request(f"plain {number}", (Stream("base", plain),), max_tokens=max_tokens))
        crossed.add(Request(f"cancelled {number}", requests[number].streams, strength=1.0, max_tokens=9))

    found: dict[int | str, tuple[int, ...]] = {}
    pending = list(requests)
    while pending or crossed.num_active or crossed.num_waiting:
        if pending:
            crossed.add(pending.pop())
        for outcome in crossed.step():
            assert isinstance(outcome, Completion)
            found[outcome.request_id] = outcome.token_ids
        crossed.cancel(f"cancelled {len(pending) % 2}")

    assert {key: found[key] for key in alone} == alone
    assert len(found["plain 0"]) == 3


def test_what_guided_each_token_is_said_of_a_given_text(
    crossed: Engine, cross_oracle: CrossOracle, requests: Sequence[Request]
) -> None:
    request = requests[1]
    token_ids = (*decode(crossed, [request])[request.request_id].token_ids, *crossed.eos_token_ids)

    found = crossed.token_rewards(request, token_ids)

    assert isinstance(found, TokenRewards)
    for number, token in enumerate(found.tokens):
        expected = cross_oracle.place(request, token_ids[:number], token.token_id)
        assert token.log_probability == pytest.approx(expected.log_probability, abs=1e-4)
        assert token.reward == pytest.approx(expected.reward, abs=1e-4)
        assert [candidate.token_id for candidate in token.candidates] == [*expected.candidates]
        assert [candidate.reward for candidate in token.candidates] == pytest.approx(
            [reward for _, reward, _ in expected.candidates.values()], abs=1e-4
        )
    for stream, of_text in zip(request.streams[1:], found.log_likelihoods[1:], strict=True):
        assert of_text == pytest.approx(cross_oracle.likelihood(stream, token_ids), abs=1e-4)


@pytest.mark.parametrize("in_place_from", [4, 256])
def test_prompts_are_read_in_pieces_behind_shared_prefixes(
    pair: Pair, crossed: Engine, requests: Sequence[Request], monkeypatch: pytest.MonkeyPatch, in_place_from: int
) -> None:
    monkeypatch.setattr("worker.engine.runner.READ_IN_PLACE_FROM", in_place_from)
    expected = {key: one.token_ids for key, one in decode(crossed, list(requests)).items()}
    small = load_engine(pair.base, pair.policy, pair.reference, device="cpu", num_slots=2, prefill_budget=7)

    found = decode(small, list(requests))

    assert {key: one.token_ids for key, one in found.items()} == expected
    assert small.statistics.total_prompt_tokens_reused > 0


def test_a_guide_proposes_no_tokens(crossed: Engine, requests: Sequence[Request]) -> None:
    refused = list(crossed.generate([Request("x", requests[0].streams[1:])]))

    assert [(one.code, "can only guide" in one.message) for one in refused if isinstance(one, Failure)] == [
        ("foreign_base_stream", True)
    ]
