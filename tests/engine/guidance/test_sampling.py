import math

import pytest
import torch
from torch import Tensor

from worker.engine.guidance.sampling import Tail, gumbel_noise, in_nucleus, most_likely, sample, uniforms

NUM_SEEDS, NUM_POSITIONS, NUM_TOKENS = 64, 64, 64
NUM_DRAWS = NUM_SEEDS * NUM_POSITIONS * NUM_TOKENS
# Each statistic below is, for ideal noise, within 6 standard deviations of its mean but for 2e-9: the false-alarm
# probability of the whole file, with its fewer than 500 comparisons, is below 1e-6 (and the noise is fixed anyway).
NUM_DEVIATIONS = 6.0


def draws() -> Tensor:
    """[seeds, positions, tokens] of small consecutive integers, the hardest inputs for a hash."""
    seeds = torch.arange(NUM_SEEDS).repeat_interleave(NUM_POSITIONS)
    positions = torch.arange(NUM_POSITIONS).repeat(NUM_SEEDS)
    tokens = torch.arange(NUM_TOKENS).expand(len(seeds), -1)
    return uniforms(seeds, positions, tokens).view(NUM_SEEDS, NUM_POSITIONS, NUM_TOKENS)


def test_draws_are_uniform() -> None:
    num_bins = 64
    expected = NUM_DRAWS / num_bins

    counts = draws().flatten().histc(num_bins, min=0, max=1)

    deviation = math.sqrt(NUM_DRAWS * (1 / num_bins) * (1 - 1 / num_bins))
    assert (counts - expected).abs().max() < NUM_DEVIATIONS * deviation


def test_every_bit_is_fair() -> None:
    bits = (draws().flatten() * 2.0**52).long()

    for place in range(52):
        ones = ((bits >> place) & 1).sum().item()
        assert abs(ones - NUM_DRAWS / 2) < NUM_DEVIATIONS * math.sqrt(NUM_DRAWS) / 2


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["seed", "position", "token"])
@pytest.mark.parametrize("distance", [1, 2, 16])
def test_draws_of_neighbouring_seeds_positions_and_tokens_are_independent(axis: int, distance: int) -> None:
    centred = draws() - 0.5
    length = centred.shape[axis] - distance

    products = centred.narrow(axis, 0, length) * centred.narrow(axis, distance, length)

    deviation = (
        math.sqrt(products.numel()) / 12
    )  # the variance of a product of two independent centred uniforms is 1/144
    assert abs(products.sum().item()) < NUM_DEVIATIONS * deviation


def test_swapping_seed_position_and_token_gives_other_draws() -> None:
    cube = draws()

    assert len(set(cube.flatten().tolist())) == NUM_DRAWS
    assert abs(torch.corrcoef(torch.stack([cube.flatten(), cube.transpose(0, 1).flatten()]))[0, 1]) < 0.05


def test_no_draw_reaches_zero_or_one() -> None:
    extreme = torch.tensor([-(2**63), -1, 0, 2**63 - 1])

    drawn = uniforms(extreme, extreme, extreme.expand(4, -1))

    assert ((drawn > 0) & (drawn < 1)).all()
    assert gumbel_noise(extreme, extreme, extreme.expand(4, -1)).isfinite().all()


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    seeds, positions, tokens = torch.tensor([5, 6, 7]), torch.tensor([0, 3, 9]), torch.arange(30).view(3, 10)

    together = uniforms(seeds, positions, tokens)

    for row in range(3):
        for column in range(10):
            one = uniforms(seeds[row : row + 1], positions[row : row + 1], tokens[row : row + 1, column : column + 1])
            assert one.item() == together[row, column].item()


def sample_many(scores: list[float], temperature: float, top_p: float, num_draws: int = 20_000) -> Tensor:
    """Frequencies of each candidate."""
    rows = torch.tensor(scores, dtype=torch.float64).expand(num_draws, -1)
    noise = gumbel_noise(
        torch.arange(num_draws),
        torch.zeros(num_draws, dtype=torch.long),
        torch.arange(len(scores)).expand(num_draws, -1),
    )
    each = torch.ones(num_draws, dtype=torch.float64)
    chosen = sample(
        rows, torch.ones_like(rows, dtype=torch.bool), temperature * each, Tail(top_p * each, 0 * each), noise
    )
    return chosen.bincount(minlength=len(scores)) / num_draws


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_softmax_of_the_scores(temperature: float) -> None:
    scores = [1.0, 0.3, -0.2, -1.5]
    expected = (torch.tensor(scores) / temperature).softmax(0)

    frequencies = sample_many(scores, temperature, top_p=1.0)

    assert ((frequencies - expected).abs() < NUM_DEVIATIONS * (expected * (1 - expected) / 20_000).sqrt()).all()


def test_samples_stay_in_the_nucleus_and_keep_its_proportions() -> None:
    frequencies = sample_many([math.log(p) for p in (0.1, 0.4, 0.2, 0.3)], temperature=1.0, top_p=0.7)

    assert frequencies[[0, 2]].tolist() == [0, 0]
    assert frequencies[1].item() == pytest.approx(4 / 7, abs=NUM_DEVIATIONS * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize(
    ("top_p", "inside"),
    [
        (1e-9, [False, True, False, False]),
        (0.39, [False, True, False, False]),
        (0.41, [False, True, False, True]),
        (0.89, [False, True, True, True]),
        (0.91, [True, True, True, True]),
        (1.0, [True, True, True, True]),
    ],
)
def test_the_nucleus_is_the_fewest_candidates_that_reach_top_p(top_p: float, inside: list[bool]) -> None:
    scaled = torch.tensor([[0.1, 0.4, 0.2, 0.3]], dtype=torch.float64).log()

    assert in_nucleus(scaled, torch.tensor([top_p], dtype=torch.float64)).tolist() == [inside]


def test_a_slot_with_temperature_zero_takes_the_most_likely_allowed_candidate() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]], dtype=torch.float64)
    allowed = torch.tensor([[False, True, True], [True, True, True]])

    greedy = most_likely(scores, allowed)
    tail = Tail(torch.full((2,), 0.1), torch.zeros(2))
    among_sampled = sample(scores, allowed, torch.zeros(2), tail, torch.randn(2, 3) * 100)

    assert greedy.tolist() == among_sampled.tolist() == [2, 1]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-20])
def test_a_tiny_temperature_takes_the_most_likely_candidate(temperature: float) -> None:
    scores = torch.tensor([[3.0, 1.0, 4.0], [-2e3, -3e3, -1e3]], dtype=torch.float64)
    each = torch.ones(2, dtype=torch.float64)
    noise = torch.tensor([[30.0, 30.0, -3.0]] * 2, dtype=torch.float64)

    chosen = sample(scores, torch.ones(2, 3, dtype=torch.bool), temperature * each, Tail(each, 0 * each), noise)

    assert chosen.tolist() == [2, 2]
