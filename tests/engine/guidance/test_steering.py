import pytest
import torch

from worker.engine.guidance import steering
from worker.engine.guidance.steering import _BLOCKS, all_finite, propose, scores, token_rewards


def ranked(logits: list[float], num_candidates: int) -> list[int]:
    return sorted(range(len(logits)), key=lambda token_id: (-logits[token_id], token_id))[:num_candidates]


@pytest.mark.parametrize("num_values", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize(
    ("num_candidates", "vocab_size"), [(1, 50), (2, 50), (10, 50), (49, 50), (50, 50), (1, 333), (3, 640), (10, 1500)]
)
def test_of_equal_logits_the_smaller_token_id_comes_first(
    num_values: int, num_candidates: int, vocab_size: int
) -> None:
    generator = torch.Generator().manual_seed(num_values)
    logits = torch.randint(-num_values, num_values, (20, vocab_size), generator=generator) / 7

    candidates = propose(logits, num_candidates)

    assert candidates.token_ids.tolist() == [ranked(row, num_candidates) for row in logits.tolist()]
    assert torch.equal(candidates.logits, logits.gather(1, candidates.token_ids))


NUM_VALUES = {"random": 10**6, "tied": 3, "equal": 1, "mostly impossible": 3}


@pytest.mark.parametrize("kind", NUM_VALUES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_candidates", [1, 4, 11])
@pytest.mark.parametrize("block", _BLOCKS)
@pytest.mark.parametrize("beside", [-1, 0, 1, 63, 64, 645])
def test_candidates_found_by_blocks_are_the_first_of_all(
    kind: str, dtype: torch.dtype, num_candidates: int, block: int, beside: int
) -> None:
    vocab_size = 2 * num_candidates * block + beside  # about the size from which blocks are worth it
    generator = torch.Generator().manual_seed(beside)
    logits = torch.randint(NUM_VALUES[kind], (16, vocab_size), generator=generator).to(dtype)
    if kind == "mostly impossible":
        logits = logits.masked_fill(torch.rand(logits.shape, generator=generator) < 0.99, -torch.inf)

    candidates = propose(logits, num_candidates)

    assert candidates.token_ids.tolist() == [ranked(row, num_candidates) for row in logits.tolist()]
    assert torch.equal(candidates.logits, logits.gather(1, candidates.token_ids).float())


def test_negative_zero_equals_zero() -> None:
    assert propose(torch.tensor([[-0.0, 0.0, -1.0, -0.0]]), 3).token_ids.tolist() == [[0, 1, 3]]


def test_fewer_candidates_are_the_first_of_more() -> None:
    logits = torch.randn(8, 60, generator=torch.Generator().manual_seed(0)).bfloat16()

    assert torch.equal(propose(logits, 5).token_ids, propose(logits, 20).token_ids[:, :5])


@pytest.mark.parametrize("poison", [torch.nan, -torch.nan, torch.inf], ids=["nan", "negative nan", "inf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("vocab_size", "place"), [(30, -1), (1000, -1), (1000, 100)])
def test_broken_base_logits_are_noticed_wherever_they_are(
    poison: float, dtype: torch.dtype, vocab_size: int, place: int
) -> None:
    logits = torch.randn(6, vocab_size, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[1, place] = poison
    logits[3] = torch.nan
    logits[4] = -torch.inf
    logits[5, 3] = -torch.inf  # a token that the model rules out is nothing broken

    candidates = propose(logits, 4)

    assert candidates.finite.tolist() == [True, False, True, False, False, True]
    assert ((candidates.token_ids >= 0) & (candidates.token_ids < vocab_size)).all()


def test_broken_base_logits_are_noticed_whatever_sign_a_device_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    logits[0, 100] = torch.nan

    def negative(blocks: torch.Tensor) -> torch.Tensor:
        largest = blocks.amax(-1)
        return largest.where(~largest.isnan(), -torch.nan)

    monkeypatch.setattr(steering, "_maxima", negative)
    assert propose(logits, 4).finite.tolist() == [False, True]


def test_scores_are_the_weighted_sums_of_the_streams() -> None:
    stream_logits = torch.tensor([[[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]])

    assert scores(stream_logits, torch.tensor([[1.0, 0.5, -0.25]])).tolist() == [[1 + 5 - 25, 2 + 10 - 50]]


def test_a_slots_score_does_not_depend_on_the_streams_of_others() -> None:
    generator = torch.Generator().manual_seed(0)
    stream_logits, coefficients = torch.randn(4, 3, 5, generator=generator), torch.randn(4, 3, generator=generator)
    coefficients[0, 2] = 0

    assert torch.equal(scores(stream_logits, coefficients)[:1], scores(stream_logits[:1, :2], coefficients[:1, :2]))


def test_token_rewards_normalise_over_the_slots_own_candidates() -> None:
    stream_logits = torch.tensor([[[1.0, 2.0, 50.0], [0.5, -0.5, 70.0]]])
    allowed = torch.tensor([[True, True, False]])

    reward = token_rewards(stream_logits, torch.tensor([[-1.0, 2.0]]), allowed, chosen=torch.tensor([1]))

    base, policy = torch.tensor([1.0, 2.0]).log_softmax(0)[1], torch.tensor([0.5, -0.5]).log_softmax(0)[1]
    assert reward.item() == pytest.approx((2 * policy - base).item())


def test_a_stream_is_broken_only_where_it_is_looked_at() -> None:
    stream_logits = torch.zeros(2, 2, 3)
    stream_logits[0, 1, 2] = torch.nan
    stream_logits[1, 1, 0] = -torch.inf

    candidates = propose(torch.zeros(2, 3), 3)
    assert all_finite(candidates, stream_logits, torch.tensor([[True, True, False]] * 2)).tolist() == [True, False]
