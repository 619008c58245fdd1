"""The simulation of learning, in small: its parts against what is known of them, and all of it end to end."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.demo import learning
from examples.demo.learning import Pool, by_rewards, by_rules, choose, hidden_weights, kept, learnt_weights, simulate
from examples.demo.learning_report import NAMES, Scale
from worker.learning.preference_fit import Array

SMALL = Scale(num_prompts=2, texts_per_prompt=3, num_users=3, num_readers=1, num_test_prompts=1, pairs_for_readers=5)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of a small model wait for each other more than they work, the more so beside other processes."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def pool() -> Pool:
    """Forty prompts with four texts, which keep nothing and have random rewards."""
    features: Array = np.random.default_rng(0).normal(scale=15.0, size=(40, 4, len(NAMES)))
    return Pool([[f"text {prompt} {text}" for text in range(4)] for prompt in range(40)], features)


def test_hidden_weights_sum_up_to_those_of_the_default_profile() -> None:
    rng = np.random.default_rng(1)

    assert [hidden_weights(rng).sum() for _ in range(5)] == pytest.approx([len(NAMES)] * 5)


def test_a_user_of_rewards_chooses_what_is_worth_more_to_them(pool: Pool) -> None:
    weights = np.array([4.0, 0, 0, 0])

    rows = choose(pool, weights, by_rewards, num_pairs=400, seed=2)

    assert rows.shape == (400, len(NAMES))
    assert rows[:, 0].mean() > 5
    assert np.abs(rows[:, 1:].mean(axis=0)).max() < 3


def test_more_pairs_of_such_a_user_bring_the_weights_nearer(pool: Pool) -> None:
    weights = np.array([2.5, 1.0, 0.4, 0.1])

    def distance(num_pairs: int) -> float:
        found = [learnt_weights(pool, weights, by_rewards, num_pairs, seed) for seed in range(20)]
        return float(np.mean([np.abs(one - weights).mean() for one in found]))

    assert distance(200) < 0.6 * distance(5)


def test_a_user_of_rules_sees_what_the_rules_see() -> None:
    text = "Kindly reply by Friday. Would you like to know more?"
    pool = Pool([[text, "Nothing of that sort."]], np.zeros((1, 2, len(NAMES))))
    weights = np.array([1.0, 2.0, 3.0, 4.0])

    assert by_rules(pool, 0, 0, weights) == learning.NATS_PER_PRINCIPLE * float(kept(text) @ weights)
    assert by_rules(pool, 0, 0, weights) > by_rules(pool, 0, 1, weights)


def test_the_page_is_the_same_for_the_same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learning.SAMPLING, "max_tokens", 12)

    page = simulate(SMALL)

    assert page == simulate(SMALL)
    assert re.search(r"\| rewards \| \d\.\d\d \| (\d\.\d\d \| ){4}\d\.\d\d \|", page)
    assert re.search(r"\| default \| 50% \| 50% to 50% \|", page)
    assert "nan" not in page


def test_the_page_in_the_documentation_was_written_by_this_program() -> None:
    page = Path("docs/learning.md").read_text(encoding="utf-8")

    assert page.startswith("# A profile learnt from feedback, in simulation")
    assert f"{Scale().num_users} users choose between" in page
    assert f"{Scale().num_readers} users who go by rules give {Scale().pairs_for_readers} pairs" in page
