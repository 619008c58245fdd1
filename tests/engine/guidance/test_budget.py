import math

import pytest
import torch
from torch import Tensor

from tests.engine.requests import METHODS, contrast, decode, pad, prompt, token_ids
from worker.engine import Engine, Request
from worker.engine.guidance.budget import divergence, strength_within

BUDGETS = [1e-9, 1e-3, 0.05, 0.7, 3.0]
STRENGTHS = [0.01, 1.0, 40.0, -2.0, 1e6, 1e300]


def kl(base: list[float], reward: list[float], strength: float) -> float:
    """As the formula is written, of what is not -inf."""
    known = [(b, strength * r) for b, r in zip(base, reward, strict=True) if b > -math.inf]
    largest = max(tilt for _, tilt in known)
    guided = [b + tilt - largest for b, tilt in known]
    log_z, log_z_base = _log_sum_exp(guided), _log_sum_exp([b for b, _ in known])
    return math.fsum(
        math.exp(g - log_z) * (g - log_z - b + log_z_base) for g, (b, _) in zip(guided, known, strict=True) if g > -700
    )


def _log_sum_exp(values: list[float]) -> float:
    largest = max(values)
    return math.log(math.fsum(math.exp(value - largest) for value in values)) + largest


def rows(spread: float, num_rows: int = 40, num_candidates: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Base logits with and without a favourite, rewards, and candidates some of which are excluded."""
    generator = torch.Generator().manual_seed(int(spread * 10))
    base = spread * torch.randn(num_rows, num_candidates, generator=generator, dtype=torch.float64)
    reward = spread * torch.randn(num_rows, num_candidates, generator=generator, dtype=torch.float64)
    reward[0] = 0  # nothing to choose between
    reward[1, 1:] = 0  # two levels
    base[2, 0] = 200
    allowed = torch.rand(base.shape, generator=generator) < 0.8
    allowed[:, 0] = True
    allowed[3, 1:] = False
    return base.masked_fill(~allowed, -torch.inf), reward, allowed


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("max_kl", BUDGETS)
def test_the_whole_strength_or_the_whole_budget_is_used(spread: float, strength: float, max_kl: float) -> None:
    base, reward, allowed = rows(spread)
    each = torch.ones(len(base), dtype=torch.float64)

    used = strength_within(base, reward, allowed, strength * each, max_kl * each).tolist()

    for row, part in enumerate(used):
        spent = kl(base[row].tolist(), reward[row].tolist(), part)
        assert part * strength > 0
        assert abs(part) <= abs(strength)
        assert spent <= max_kl + 1e-9
        assert part == strength or spent == pytest.approx(max_kl, abs=1e-6)


@pytest.mark.parametrize("num_candidates", [1, 2, 3, 10])
def test_equal_rewards_have_a_strength_within_the_least_of_budgets(num_candidates: int) -> None:
    """Rounding alone may then cost more than the budget, and there is nothing to reduce."""
    base = torch.randn(40, num_candidates, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    each = torch.ones(40, dtype=torch.float64)

    used = strength_within(base, 0.3 * torch.ones_like(base), torch.ones_like(base) > 0, 2 * each, 1e-300 * each)

    assert used.tolist() == pytest.approx([2.0] * 40)


def test_the_divergence_is_that_of_its_formula() -> None:
    base, reward, allowed = rows(2.0)

    measured = divergence(base + 0.7 * reward, base, allowed).tolist()

    assert measured == pytest.approx([kl(b, r, 0.7) for b, r in zip(base.tolist(), reward.tolist(), strict=True)])


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
@pytest.mark.parametrize("strength", [4.0, -4.0])
@pytest.mark.parametrize("max_kl", [0.02, 0.5])
def test_no_step_spends_more_than_its_budget(engine: Engine, method: str, strength: float, max_kl: float) -> None:
    requests = [
        Request(i, METHODS[method](prompt(i, 4 + i)), strength=strength, max_kl=max_kl, max_tokens=1) for i in range(8)
    ]
    unbounded = [Request(i, METHODS[method](prompt(i, 4 + i)), strength=strength, max_tokens=1) for i in range(8)]

    spent = [completion.kl or 0.0 for completion in decode(engine, requests).values()]
    without = [completion.kl or 0.0 for completion in decode(engine, unbounded).values()]

    assert max(spent) <= max_kl + 1e-6
    assert sum(abs(kl - max_kl) < 1e-6 for kl in spent) == sum(kl > max_kl for kl in without) > 0


def test_a_budget_of_nothing_is_unguided(engine: Engine) -> None:
    bounded = Request(0, pad(prompt(1, 6)), strength=2.0, max_kl=0.0, max_tokens=20)
    unguided = Request(1, pad(prompt(1, 6)), strength=0.0, max_tokens=20)

    completions = decode(engine, [bounded, unguided])

    assert completions[0].token_ids == completions[1].token_ids
    assert completions[0].reward is completions[0].kl is None


def test_a_budget_that_never_binds_changes_not_even_a_bit(engine: Engine) -> None:
    free = [Request(i, contrast(prompt(i, 5)), strength=0.6, max_tokens=12, return_rewards=True) for i in range(6)]
    bounded = [
        Request(i, contrast(prompt(i, 5)), strength=0.6, max_kl=100.0, max_tokens=12, return_rewards=True)
        for i in range(6)
    ]

    assert decode(engine, bounded) == decode(engine, free)


def test_a_larger_budget_moves_the_text_further(engine: Engine) -> None:
    def mean(max_kl: float) -> float:
        requests = [Request(i, pad(prompt(i, 6)), strength=8.0, max_kl=max_kl, max_tokens=12) for i in range(12)]
        completions = decode(engine, requests).values()
        assert all((completion.kl or 0.0) <= max_kl + 1e-6 for completion in completions)
        return sum(completion.reward or 0.0 for completion in completions)

    assert mean(0.02) < mean(0.3) < mean(2.0)


def test_nobody_pays_for_budgets_that_nobody_sets(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr("worker.engine.guidance.choice.strength_within", never)
    monkeypatch.setattr("worker.engine.guidance.processors.Processors.applied", never)
    monkeypatch.setattr("worker.engine.guidance.choice.sample_vocabulary", never)
    requests = [Request(0, pad(prompt(1, 6)), strength=2.0), Request(1, pad(prompt(1, 6)), max_kl=1.0, k=None)]

    assert len(token_ids(decode(engine, requests))) == 2
