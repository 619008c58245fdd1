"""What a guide's context and cache hold, in its own tokens: refused when added, cut off when outgrown, promised."""

from collections.abc import Sequence
from itertools import count

import pytest
import torch
from torch import Tensor

from tests.engine.cross_tokenizer.pairs import Pair, id_of_end, tokenizer_of
from tests.engine.requests import decode
from worker.engine import Completion, Engine, Failure, FinishReason, Request, Stream, load_engine
from worker.engine.cache.memory import Need
from worker.engine.cross_tokenizer.runner import BRANCHED_TOKENS, TOKENS_PER_TOKEN, TextRunner
from worker.engine.cross_tokenizer.trees import Tree
from worker.engine.rows import Row

GUIDES = 256
"""Positions of the guide's model, and of the base's."""


def guided(num_shown: int) -> tuple[Stream, ...]:
    shown = tuple(range(1, num_shown + 1))
    return (Stream("base", (5, 6)), Stream("policy", shown, reward=1.0), Stream("reference", shown, reward=-1.0))


def long_word(pair: Pair) -> int:
    """A token of the base that the guide writes in many."""
    return long_words(pair)[0]


def long_words(pair: Pair) -> list[int]:
    """The tokens of the base, those first that the guide writes in most."""
    of_base, of_guide = tokenizer_of(pair.base), tokenizer_of(pair.reference)
    lengths = {
        token_id: len(of_guide.encode(of_base.decode([token_id])).ids) for token_id in of_base.get_vocab().values()
    }
    return sorted(lengths, key=lambda token_id: (-lengths[token_id], token_id))


@pytest.mark.parametrize(
    ("num_shown", "said"),
    [
        (239, "2 of them for each token of the answer: lower max_tokens from 17 to at most 8, or shorten the prompt."),
        (255, "no max_tokens is low enough: shorten the prompt by at least 1."),
    ],
)
def test_a_prompt_that_leaves_the_guide_no_room_is_refused(crossed: Engine, num_shown: int, said: str) -> None:
    (refused,) = crossed.generate([Request("x", guided(num_shown), 1.0, max_tokens=17)])

    assert isinstance(refused, Failure)
    assert refused.code == "guide_prompt_too_long"
    assert said in refused.message
    assert crossed.room(guided(num_shown)) == (GUIDES - num_shown) // TOKENS_PER_TOKEN


def test_a_text_that_outgrows_the_guide_ends_there_and_nobody_else_does(pair: Pair, crossed: Engine) -> None:
    bias = ((long_word(pair), 50.0), (id_of_end(tokenizer_of(pair.base)), -100.0))
    beside = Request("beside", guided(12), 1.0, max_tokens=12)
    expected = decode(crossed, [beside])["beside"].token_ids
    whole = decode(crossed, [Request("x", guided(200), 1.0, max_tokens=8, logit_bias=bias)])["x"].token_ids

    found = decode(crossed, [Request("x", guided(239), 1.0, max_tokens=8, logit_bias=bias), beside])

    cut_off = found["x"]
    assert 0 < len(cut_off.token_ids) < 8
    assert cut_off.finish_reason is FinishReason.LENGTH
    assert set(cut_off.token_ids) == set(whole)
    assert found["beside"].token_ids == expected


def test_a_given_text_that_outgrows_the_guide_is_refused(pair: Pair, crossed: Engine) -> None:
    refused = crossed.token_rewards(Request("x", guided(239), 1.0), [long_word(pair)] * 6)

    assert isinstance(refused, Failure)
    assert refused.code == "text_outgrows_guide"


def test_branches_need_columns_and_no_positions(crossed: Engine) -> None:
    """A text that fits is judged, however many tokens its candidates have beside it."""
    few = decode(crossed, [Request("x", guided(250), 1.0, k=2, max_tokens=1)])["x"]
    many = decode(crossed, [Request("x", guided(250), 1.0, k=200, max_tokens=1)])["x"]

    assert isinstance(few, Completion)
    assert many.finish_reason is FinishReason.LENGTH
    assert many.reward is not None


def test_a_request_runs_what_its_own_candidates_branch_into_whatever_others_ask_for(
    crossed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Request("few", guided(12), 1.0, k=2, max_tokens=3, return_rewards=True)
    many = Request("many", guided(14)[:1], k=60, temperature=0.5, max_tokens=5)  # not guided
    sizes: list[int] = []
    run = TextRunner._run_trees  # noqa: SLF001 (what is run shows nowhere else)

    def noted(self: TextRunner, trees: Sequence[Tree], rows: Sequence[Row], *, first_row: int) -> Tensor:
        sizes.append(sum(len(tree.tokens) for tree in trees))
        return run(self, trees, rows, first_row=first_row)

    monkeypatch.setattr(TextRunner, "_run_trees", noted)
    alone = decode(crossed, [few])["few"]
    sizes_alone, sizes = sizes, []
    beside = decode(crossed, [few, many])["few"]

    assert beside.token_ids == alone.token_ids
    assert beside.rewards == pytest.approx(alone.rewards, abs=1e-6)
    assert sizes == sizes_alone


def test_branches_that_are_too_many_for_one_forward_are_run_in_several(
    crossed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request(number, guided(12 + number), 1.0, k=60, max_tokens=3) for number in range(3)]
    expected = decode(crossed, requests)
    sizes: list[int] = []
    run = TextRunner._run_trees  # noqa: SLF001 (how many are run at once shows nowhere else)

    def noted(self: TextRunner, trees: Sequence[Tree], rows: Sequence[Row], *, first_row: int) -> Tensor:
        sizes.append(len(trees))
        return run(self, trees, rows, first_row=first_row)

    monkeypatch.setattr(TextRunner, "_run_trees", noted)
    monkeypatch.setattr("worker.engine.cross_tokenizer.runner.MOST_RUN_AT_ONCE", 20)
    found = decode(crossed, requests)

    assert {key: one.token_ids for key, one in found.items()} == {key: one.token_ids for key, one in expected.items()}
    assert found[0].reward == pytest.approx(expected[0].reward, abs=1e-6)
    assert min(sizes) == 1
    assert sum(sizes) == 3 * 2 * 3


@pytest.mark.parametrize("failing_call", [2, 3, 4])
def test_a_forward_that_ran_out_of_memory_leaves_no_row_that_seems_read(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    first, second = long_words(pair)[:2]  # where the second is chosen, its tokens are to be run in the next step
    bias = ((first, 50.0), (second, 50.0), (id_of_end(tokenizer_of(pair.base)), -100.0))
    engine = load_engine(pair.base, pair.policy, pair.reference, device="cpu", num_slots=2)
    requests = [
        Request(number, guided(12 + number), 9.0, k=4, max_tokens=6, logit_bias=bias, return_rewards=True)
        for number in range(2)
    ]
    expected = decode(engine, requests)
    run, calls = TextRunner._run_trees, count()  # noqa: SLF001 (where a step is in the middle of it)

    def failing(self: TextRunner, trees: Sequence[Tree], rows: Sequence[Row], *, first_row: int) -> Tensor:
        if next(calls) != failing_call:
            return run(self, trees, rows, first_row=first_row)
        with monkeypatch.context() as patched:
            patched.setattr(self, "_forward", out_of_memory)
            return run(self, trees, rows, first_row=first_row)

    monkeypatch.setattr(TextRunner, "_run_trees", failing)
    found = decode(engine, requests)

    for number, completion in expected.items():
        assert found[number].token_ids == completion.token_ids
        assert found[number].rewards == pytest.approx(completion.rewards, abs=1e-4)


def out_of_memory(*_arguments: object) -> Tensor:
    raise torch.OutOfMemoryError


def test_more_candidates_than_branches_are_refused(crossed: Engine) -> None:
    (refused,) = crossed.generate([Request("x", guided(20), 1.0, k=257, max_tokens=2)])

    assert isinstance(refused, Failure)
    assert (refused.code, "at most 256 candidates" in refused.message) == ("k_out_of_range", True)


def test_a_guides_row_is_promised_its_prompt_and_what_an_answer_spells(crossed: Engine) -> None:
    crossed.add(Request("x", guided(20), 1.0, max_tokens=10))
    runners = crossed._models.runners  # noqa: SLF001 (what was promised is nobody else's business)
    need: Need = crossed._prompts.need("x")  # noqa: SLF001
    crossed.cancel("x")

    base, guide = (
        next(one for one in runners if isinstance(one, TextRunner) is is_guide) for is_guide in (False, True)
    )
    of_guide = 20 + TOKENS_PER_TOKEN * 10 + BRANCHED_TOKENS
    assert need.own == 12 * base.bytes_per_token + 2 * of_guide * guide.bytes_per_token
