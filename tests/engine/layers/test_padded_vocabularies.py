"""Models of one tokenizer whose embeddings are padded to different sizes are decoded together."""

from pathlib import Path

import pytest
from torch import Tensor

from tests.engine.models import EOS, read, save, save_tokenizer, tiny
from tests.engine.oracle import LanguageModel, Oracle, generate_greedily, uncached
from tests.engine.requests import decode, mixed_batch, pad_with_reference, plain, prompt, token_ids
from worker.engine import Engine, Failure, Request, ScoreRequest, Stream, load_engine
from worker.engine.errors import TokenOutOfRangeError, VocabularyMismatchError

NUM_TOKENS = 97
NARROW, MIDDLE, WIDE = 97, 101, 128
SIZES = {"wide base": (WIDE, NARROW, MIDDLE), "narrow base": (NARROW, WIDE, MIDDLE), "between": (MIDDLE, WIDE, NARROW)}


@pytest.fixture(params=SIZES)
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """Base, policy and reference, with random rows behind the tokens of their one tokenizer."""
    sizes = SIZES[request.param]
    return tuple(saved(tmp_path / str(seed), seed, size) for seed, size in enumerate(sizes))  # type: ignore[return-value]  # three


def saved(folder: Path, seed: int, size: int) -> str:
    path = save(tiny("llama", seed, vocab_size=size), folder)
    save_tokenizer(folder, size=NUM_TOKENS)
    return path


@pytest.fixture
def engine(paths: tuple[str, str, str]) -> Engine:
    return load_engine(*paths, device="cpu", num_slots=8)


def cut(model: LanguageModel) -> LanguageModel:
    """Of the tokens that all models have."""

    def logits(ids: Tensor) -> Tensor:
        return model(ids)[:, :NARROW]

    return logits


def test_strength_zero_is_the_bases_own_generate_over_all_of_its_rows(
    engine: Engine, paths: tuple[str, str, str]
) -> None:
    requests = [Request(i, plain(prompt(i, 3 + i)), max_tokens=12) for i in range(8)]

    completions = decode(engine, requests)

    expected = {i: generate_greedily(paths[0], prompt(i, 3 + i), 12) for i in range(8)}
    assert token_ids(completions) == expected


def test_guided_requests_choose_among_the_tokens_that_all_have(engine: Engine, paths: tuple[str, str, str]) -> None:
    requests = [request for request in mixed_batch() if {"policy", "reference"} & {s.weights for s in request.streams}]
    requests = [request for request in requests if len({s.weights for s in request.streams}) == 3]

    completions = decode(engine, requests)

    names = ("base", "policy", "reference")
    oracle = Oracle({name: cut(uncached(read(path))) for name, path in zip(names, paths, strict=True)})
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests}


def test_penalties_reach_every_row_of_the_base_and_only_what_all_have_where_others_judge(
    engine: Engine, paths: tuple[str, str, str]
) -> None:
    asked = {"repetition_penalty": 1.4, "frequency_penalty": 0.5, "presence_penalty": -0.3}
    shaped = {"min_tokens": 6, "max_tokens": 12, "logit_bias": ((17, 2.0), (EOS, 3.0))}
    free = [Request(i, plain(prompt(i, 3 + i)), **asked, **shaped) for i in range(6)]  # type: ignore[arg-type]  # of many types
    judged = [
        Request(i, pad_with_reference(prompt(i, 3 + i)), strength=0.7, k=(10, NARROW)[i % 2], **asked, **shaped)  # type: ignore[arg-type]  # as above
        for i in range(6, 12)
    ]

    completions = decode(engine, [*free, *judged])

    models = dict(zip(("base", "policy", "reference"), (uncached(read(path)) for path in paths), strict=True))
    alone, together = Oracle(models), Oracle({name: cut(model) for name, model in models.items()})
    expected = {request.request_id: alone.answer(request).token_ids for request in free}
    expected |= {request.request_id: together.answer(request).token_ids for request in judged}
    assert token_ids(completions) == expected


def test_a_guided_request_beside_an_unguided_one_that_wants_the_whole_vocabulary(engine: Engine) -> None:
    guided = next(request for request in mixed_batch() if len({s.weights for s in request.streams}) == 3)
    alone = decode(engine, [guided])

    together = decode(engine, [Request("all", plain(prompt(1, 4)), k=NARROW, temperature=2.0), guided])

    assert together[guided.request_id].token_ids == alone[guided.request_id].token_ids


def test_token_ids_beyond_the_smallest_vocabulary_are_refused(engine: Engine) -> None:
    assert engine.vocab_size == NARROW
    with pytest.raises(TokenOutOfRangeError):
        engine.add(Request(0, (Stream("base", (1, NARROW)),)))
    request = ScoreRequest(request_id=0, prompt_ids=(1,), completion_ids=(NARROW,))
    assert isinstance(engine.score([request])[0], Failure)


@pytest.mark.parametrize("tokens", [None, NARROW + 1], ids=["without a tokenizer", "a token in a row that one lacks"])
def test_other_sizes_are_refused(tmp_path: Path, tokens: int | None) -> None:
    base, policy = saved(tmp_path / "base", 0, WIDE), saved(tmp_path / "policy", 1, NARROW)
    for folder in (tmp_path / "base", tmp_path / "policy"):
        if tokens is None:
            (folder / "tokenizer.json").unlink()
            (folder / "tokenizer_config.json").unlink()
        else:
            save_tokenizer(folder, size=tokens)

    with pytest.raises(VocabularyMismatchError, match="97 and 128 tokens"):
        load_engine(base, policy)
