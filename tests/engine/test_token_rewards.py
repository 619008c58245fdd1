"""What guided each token, against the oracle's slow forwards and against what decoding itself reports."""

import math
from dataclasses import replace

import pytest

from tests.engine.conftest import make_engine
from tests.engine.models import Family
from tests.engine.oracle import Oracle, Place
from tests.engine.requests import METHODS, contrast, decode, mixed_batch, pad, plain, prompt, shaped_batch
from worker.engine import Engine, Failure, Request, TokenReward, TokenRewards

CLOSE = 2e-4
GIVEN = prompt(77, 9)


def of(engine: Engine, request: Request, completion: tuple[int, ...]) -> TokenRewards:
    """Where it may not fail."""
    found = engine.token_rewards(request, completion)
    assert isinstance(found, TokenRewards), found
    return found


def check(found: TokenReward, wanted: Place) -> None:
    assert found.token_id == wanted.token_id
    assert found.log_probability == pytest.approx(wanted.log_probability, abs=CLOSE)
    assert found.reward == pytest.approx(wanted.reward, abs=CLOSE)
    assert found.kl == pytest.approx(wanted.kl, abs=CLOSE)
    assert found.strength == pytest.approx(wanted.strength, rel=1e-3)
    assert [one.token_id for one in found.candidates] == [*wanted.candidates]
    for one, (base, reward, guided) in zip(found.candidates, wanted.candidates.values(), strict=True):
        numbers = (one.base_log_probability, one.reward, one.guided_log_probability)
        assert numbers == pytest.approx((base, reward, guided), abs=CLOSE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("max_kl", [None, 0.02])
def test_every_number_of_a_given_text_equals_slow_forwards(
    engine: Engine, oracle: Oracle, method: str, max_kl: float | None
) -> None:
    request = Request(0, METHODS[method](prompt(5, 7)), strength=1.5, max_kl=max_kl, k=6)

    found = of(engine, request, GIVEN)

    for index, token in enumerate(found.tokens):
        check(token, oracle.place(request, GIVEN[:index], GIVEN[index]))
    assert len(found.tokens) == len(GIVEN)


def test_what_decoding_was_told_is_what_is_shown_whatever_shapes_the_distribution(engine: Engine) -> None:
    requests = [*mixed_batch(), *(replace(one, request_id=f"s{one.request_id}") for one in shaped_batch(3))]
    completions = decode(engine, requests)

    for request in requests:
        completion = completions[request.request_id]
        if not completion.token_ids or completion.rewards is None:
            continue
        found = of(engine, request, completion.token_ids).tokens
        assert [one.reward for one in found] == pytest.approx(completion.rewards[: len(found)], abs=CLOSE)
        if request.temperature == 0:
            assert [greedy(one) for one in found] == [*completion.token_ids]


def greedy(token: TokenReward) -> int:
    return max(token.candidates, key=lambda one: one.guided_log_probability).token_id


def test_a_budget_is_kept_at_every_token_and_cuts_only_where_it_must(engine: Engine) -> None:
    request = Request(0, pad(prompt(5, 7)), strength=3.0, max_kl=0.05)

    tokens = of(engine, request, prompt(6, 30)).tokens

    assert all(token.kl <= 0.05 + 1e-9 for token in tokens)
    cut = [token for token in tokens if token.strength < 3.0]
    assert cut
    assert all(token.kl == pytest.approx(0.05, rel=1e-6) for token in cut)


@pytest.mark.parametrize("request_", [Request(0, plain(prompt(5, 7))), Request(0, pad(prompt(5, 7)), strength=0)])
def test_where_nothing_guides_there_is_no_reward_and_no_change(engine: Engine, request_: Request) -> None:
    for token in of(engine, request_, GIVEN).tokens:
        assert (token.reward, token.kl, token.strength, token.is_changed) == (0, 0, 0, False)
        assert all(one.guided_log_probability == one.base_log_probability for one in token.candidates)


def test_a_long_text_is_read_in_parts_and_gives_the_same(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    request, text = Request(0, contrast(prompt(5, 7)), strength=1.0, repetition_penalty=1.3), prompt(8, 40)
    whole = of(make_engine(family), request, text)

    monkeypatch.setattr(token_rewards_module(), "LOGITS_AT_ONCE", 1000)
    in_parts = of(make_engine(family, prefill_budget=11), request, text)

    for one, other in zip(whole.tokens, in_parts.tokens, strict=True):
        assert one.reward == pytest.approx(other.reward, abs=2e-5)
        assert [each.token_id for each in one.candidates] == [each.token_id for each in other.candidates]
    assert in_parts.log_likelihoods == pytest.approx(whole.log_likelihoods, abs=1e-3)
    assert math.fsum(one.log_probability for one in whole.tokens) == pytest.approx(whole.log_likelihoods[0], abs=1e-3)


def token_rewards_module() -> object:
    import worker.engine.token_rewards as module  # noqa: PLC0415 - the package has a function of that name

    return module


def test_a_text_that_cannot_be_read_is_refused_and_nobody_else_is_disturbed(engine: Engine) -> None:
    request = Request("a", pad(prompt(5, 7)), strength=1.0, max_tokens=6)
    alone = decode(engine, [request])["a"].token_ids
    engine.add(request)
    engine.step()

    codes = [
        outcome.code
        for text in ((), (10**6,), prompt(1, 400))
        if isinstance(outcome := engine.token_rewards(request, text), Failure)
    ]
    of(engine, replace(request, request_id="b"), GIVEN)

    assert codes == ["empty_text", "token_out_of_range", "prompt_too_long"]
    assert decode(engine, [])["a"].token_ids == alone
