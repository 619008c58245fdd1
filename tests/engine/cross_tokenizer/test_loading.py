"""Which pairs of models are accepted, and what is said of those that are not."""

import json
import os
import shutil
from pathlib import Path

import psutil
import pytest
from tokenizers import decoders

from tests.engine.cross_tokenizer.pairs import (
    END,
    ENGLISH,
    CrossOracle,
    Pair,
    bytes_bpe,
    id_of_end,
    save_pair,
    save_with_tokenizer,
    tokenizer_of,
)
from tests.engine.models import read, tiny
from tests.engine.recurrent_models import RECURRENT
from worker.engine import Completion, Engine, Request, Stream, load_engine
from worker.engine.cross_tokenizer.tree_block import TreeBlock
from worker.engine.errors import UnsupportedModelError, VocabularyMismatchError
from worker.engine.layers.attention import AttentionBlock


def test_weights_with_tokens_of_their_own_are_named(pair: Pair, crossed: Engine) -> None:
    assert crossed.foreign_weights == ("policy", "reference")
    assert crossed.vocab_size == bytes_bpe(ENGLISH, 300).get_vocab_size()


def test_equal_tokenizers_take_the_usual_path(pair: Pair, tmp_path: Path) -> None:
    other = shutil.copytree(pair.reference, tmp_path / "other")

    engine = load_engine(pair.reference, pair.policy, str(other), device="cpu", num_slots=2)

    assert engine.foreign_weights == ()


def test_a_whole_model_guides_without_a_reference(pair: Pair) -> None:
    engine = load_engine(pair.base, pair.reference, device="cpu", num_slots=2)
    streams = (Stream("base", (5, 6)), Stream("policy", (7, 8), reward=1.0), Stream("policy", (9,), reward=-1.0))

    (completion,) = engine.generate([Request("x", streams, strength=1.0, max_tokens=3)])

    assert completion.request_id == "x"
    assert getattr(completion, "reward", None) is not None


def test_texts_that_branch_are_proved_at_load(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TreeBlock, "visible", AttentionBlock.visible)  # siblings see each other

    with pytest.raises(UnsupportedModelError, match="do not keep apart texts that branch"):
        load_engine(pair.base, pair.policy, pair.reference, device="cpu", num_slots=2)


@pytest.mark.parametrize("model_type", ["mistral", "gemma2", "minicpm3", "diffllama"])
def test_guides_of_other_architectures_judge_whole_texts(pair: Pair, tmp_path: Path, model_type: str) -> None:
    """Windows, scores that are capped, latents in the place of keys, keys that change behind the cache."""
    tokenizer = tokenizer_of(pair.reference)
    size, end = tokenizer.get_vocab_size(), id_of_end(tokenizer)
    save_with_tokenizer(tiny(model_type, 5, vocab_size=size, eos_token_id=end), tokenizer, tmp_path)
    engine = load_engine(pair.base, str(tmp_path), device="cpu", num_slots=2)
    shown = tuple(tokenizer.encode("You are a guide, it was that the hat").ids)
    streams = (Stream("base", (5, 6)), Stream("policy", shown, reward=1.0))
    request = Request("x", streams, strength=1.0, k=4, max_tokens=4)

    (completion,) = engine.generate([request])

    assert isinstance(completion, Completion)
    oracle = CrossOracle(pair)
    oracle.guides["policy"] = read(str(tmp_path)).double()
    assert completion.token_ids == oracle.answer(request).token_ids


def test_a_recurrent_guide_is_refused(pair: Pair, tmp_path: Path) -> None:
    tokenizer = bytes_bpe(ENGLISH, 310)
    guide = tiny("lfm2", 3, **(RECURRENT["lfm2"] | {"vocab_size": 310, "eos_token_id": 0}))
    save_with_tokenizer(guide, tokenizer, tmp_path)

    with pytest.raises(UnsupportedModelError, match="choose a model without recurrent layers"):
        load_engine(pair.base, str(tmp_path), device="cpu", num_slots=2)


def test_a_base_whose_tokens_are_no_text_by_themselves_is_refused(pair: Pair, tmp_path: Path) -> None:
    tokenizer = bytes_bpe(ENGLISH, 300)
    tokenizer.decoder = decoders.WordPiece()
    base = tiny("llama", 0, vocab_size=300, eos_token_id=tokenizer.token_to_id(END))
    save_with_tokenizer(base, tokenizer, tmp_path)

    with pytest.raises(
        VocabularyMismatchError, match="texts cannot be carried over: its tokenizer decodes by WordPiece"
    ):
        load_engine(str(tmp_path), pair.reference, device="cpu", num_slots=2)


def test_policy_and_reference_must_have_one_tokenizer(pair: Pair, tmp_path: Path) -> None:
    tokenizer = bytes_bpe(ENGLISH, 320)
    save_with_tokenizer(tiny("llama", 4, vocab_size=320, eos_token_id=0), tokenizer, tmp_path)

    with pytest.raises(VocabularyMismatchError, match="their tokenizers differ"):
        load_engine(pair.base, str(tmp_path), pair.reference, device="cpu", num_slots=2)


def test_a_guide_whose_tokenizer_cannot_be_built_is_refused(pair: Pair, tmp_path: Path) -> None:
    folder = shutil.copytree(pair.reference, tmp_path / "guide")
    words = json.loads((folder / "tokenizer.json").read_text())
    words["pre_tokenizer"] = {"type": "unheard of"}
    (folder / "tokenizer.json").write_text(json.dumps(words))

    with pytest.raises(VocabularyMismatchError, match="cannot be used for texts"):
        load_engine(pair.base, str(folder), device="cpu", num_slots=2)


def test_a_guide_with_another_tokenizer_is_not_divided_and_its_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    pair = save_pair(tmp_path, "llama")
    environment = os.environ.copy()

    with pytest.raises(UnsupportedModelError, match="not divided among devices: serve it with one"):
        load_engine(pair.base, pair.policy, pair.reference, device="cpu", max_length=64, num_slots=2, tensor_parallel=2)

    assert not [child for child in psutil.Process().children() if "follower.py" in " ".join(child.cmdline())]
    assert os.environ == environment  # training in this process went wrong: LOCAL_RANK said that it was one of several
