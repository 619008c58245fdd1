"""A processor's kernels run trees of tokens as they run texts, all layers in one call; the oracle runs whole texts."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.engine.cross_tokenizer.pairs import CrossOracle, Pair, tokenizer_of
from tests.engine.requests import decode
from worker.engine import Engine, Request, Stream, load_engine
from worker.engine.cross_tokenizer import runner
from worker.engine.cross_tokenizer.runner import TextRunner
from worker.engine.cross_tokenizer.tree_block import TreeBlock
from worker.engine.cross_tokenizer.trees import Tree
from worker.engine.errors import UnsupportedModelError
from worker.engine.layers.attention import AttentionBlock, AttentionMetadata
from worker.engine.layers.fused_layers import FusedLayers
from worker.engine.layers.native import kernels


def load(pair: Pair) -> Engine:
    return load_engine(pair.base, pair.policy, pair.reference, device="cpu", num_slots=4)


def requests_of(pair: Pair) -> list[Request]:
    of_base, of_guide = tokenizer_of(pair.base), tokenizer_of(pair.reference)
    found = []
    for number, prompt in enumerate(("the tea", "it was ที่", "Nobody")):
        shown = tuple(of_guide.encode(f"You are a guide, {prompt}").ids)
        streams = (
            Stream("base", tuple(of_base.encode(prompt).ids)),
            Stream("policy", shown, reward=1.0),
            Stream("reference", shown, reward=-1.0),
        )
        found.append(Request(number, streams, 1.5, k=8, max_tokens=6, return_rewards=True))
    return found


def test_trees_run_in_one_call_of_all_layers_and_give_what_whole_texts_give(
    llamas: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, requests, oracle = load(llamas), requests_of(llamas), CrossOracle(llamas)
    at_once: list[bool] = []
    branching: list[bool] = []
    run, run_trees = FusedLayers._run, TextRunner._run_trees  # noqa: SLF001 (which way it goes shows nowhere else)

    def run_at_once(layers: FusedLayers, x: torch.Tensor, metadata: AttentionMetadata, *others: Any) -> None:  # noqa: ANN401 (handed on)
        at_once.append(metadata.branches is not None)
        run(layers, x, metadata, *others)

    def noted(self: TextRunner, trees: Sequence[Tree], *others: Any, **named: Any) -> torch.Tensor:  # noqa: ANN401 (as above)
        branching.append(any(tree.parents != (None, *range(len(tree.parents) - 1)) for tree in trees))
        return run_trees(self, trees, *others, **named)

    monkeypatch.setattr(FusedLayers, "_run", run_at_once)
    monkeypatch.setattr(TextRunner, "_run_trees", noted)
    found = decode(engine, requests)

    assert sum(at_once) == (len(branching) if kernels(torch.float32) else 0)
    assert any(branching)
    for request in requests:
        expected, completion = oracle.answer(request), found[request.request_id]
        assert completion.token_ids == expected.token_ids
        assert completion.rewards == pytest.approx(expected.rewards, abs=1e-4)


def test_branches_that_see_each_other_are_found_out_at_load(llamas: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each token sees its row up to itself, whether kernels attend or not.
    monkeypatch.setattr(runner, "branches", lambda *_: None)
    monkeypatch.setattr(TreeBlock, "visible", AttentionBlock.visible)

    with pytest.raises(UnsupportedModelError, match="do not keep apart texts that branch"):
        load(llamas)
