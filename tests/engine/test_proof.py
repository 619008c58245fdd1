"""What the proof at load reads, and what it finds."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.models import Family, change, llama, save, save_adapter, save_tokenizer, tiny
from worker.engine import ModelError, load_engine
from worker.engine.layers.lora import RowAdaptedLinear
from worker.engine.loading.proof import ordinary_token_ids, special_ids_of


@pytest.fixture
def base(families: dict[str, Family]) -> str:
    return families["llama"].base


def refusal(*paths: str, **options: str) -> str:
    with pytest.raises(ModelError) as refused:
        load_engine(*paths, **options)  # type: ignore[arg-type]  # strings all of them
    return str(refused.value)


def test_ordinary_tokens_are_spread_over_the_vocabulary_and_never_special() -> None:
    special = frozenset(range(1000)) | {5000}

    token_ids = [*islice(ordinary_token_ids(10_000, special), 500)]

    assert token_ids == [*islice(ordinary_token_ids(10_000, special), 500)]
    assert not special & set(token_ids)
    assert {token_id // 1000 for token_id in token_ids} == set(range(1, 10))
    assert len(set(token_ids)) > 490


def test_a_vocabulary_of_special_tokens_alone_is_read_all_the_same() -> None:
    assert set(islice(ordinary_token_ids(3, {0, 1, 2}), 10)) == {0, 1, 2}


def test_every_id_that_a_configuration_names_is_special() -> None:
    config = llama(seed=0, bos_token_id=3, eos_token_id=[4, 5], pad_token_id=6).config

    assert special_ids_of(config) == {3, 4, 5, 6}


def save_with_degenerate_tokens(folder: Path, num_tokens: int) -> str:
    """The first tokens of a model read as not a number, as nothing that it was ever trained on."""
    model = llama(seed=0, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().get_parameter("weight")[:num_tokens] = torch.nan
    return save(model, folder)


def test_tokens_that_the_tokenizer_calls_special_are_not_read(tmp_path: Path) -> None:
    path = save_with_degenerate_tokens(tmp_path, 40)
    assert "not finite in float32" in refusal(path) or "differ" in refusal(path)

    save_tokenizer(tmp_path, special={f"<control {number}>": number for number in range(40)})

    assert load_engine(path).vocab_size == 97


def test_rows_beyond_the_tokenizers_vocabulary_are_not_read(tmp_path: Path) -> None:
    model = llama(seed=0, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().get_parameter("weight")[40:] = torch.nan
    path = save(model, tmp_path)
    save_tokenizer(tmp_path, size=40)

    assert load_engine(path).vocab_size == 97


def test_logits_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    model = llama(seed=0, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_parameter("lm_head.weight").fill_(torch.nan)

    assert "its own logits are not finite in float32; try another dtype" in refusal(save(model, tmp_path))


def test_numbers_that_only_the_cache_loses_are_refused(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = "worker.engine.layers.head.VocabularyHead.logits"
    monkeypatch.setattr(logits, lambda _self, hidden, _adapters=None: hidden.new_full((len(hidden), 97), torch.nan))

    assert "differ from its uncached ones by inf" in refusal(base)


def test_candidates_whose_logits_are_not_those_of_the_whole_head_are_refused(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = "worker.engine.layers.head.VocabularyHead.columns"
    monkeypatch.setattr(columns, lambda _self, hidden, ids, _adapters=None: hidden[:, :1] + ids)

    assert "cached logits differ" in refusal(base)


def test_an_adapter_that_is_not_applied_as_peft_applies_it_is_refused(
    families: dict[str, Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = families["llama"]
    second = save_adapter(llama(seed=0), tmp_path, seed=5)
    read = RowAdaptedLinear.__init__

    def only_the_first(self: RowAdaptedLinear, *given: Any) -> None:  # noqa: ANN401 (handed on)
        read(self, *given)
        self.up[:, self.owner == 1] = 0

    assert load_engine(family.base, family.policy, second).weights == ("base", "policy", "reference")
    monkeypatch.setattr(RowAdaptedLinear, "__init__", only_the_first)
    assert load_engine(family.base, family.policy).weights == ("base", "policy")
    assert "cached logits differ" in refusal(family.base, family.policy, second)


def test_an_adapter_with_dropout_is_proved_without_it(families: dict[str, Family], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    change(folder / "adapter_config.json", lora_dropout=0.9)

    assert load_engine(families["llama"].base, str(folder)).weights == ("base", "policy")


@pytest.mark.parametrize("max_length", [2, 3, 4])
def test_a_proof_fits_into_any_length(base: str, max_length: int) -> None:
    assert load_engine(base, max_length=max_length).max_length == max_length


def test_a_model_whose_own_forward_fails_is_refused(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tiny("llama", seed=0)), "forward", lambda *_args, **_kwargs: 1 / 0)

    assert "its own forward pass fails in transformers, the engine left aside: try it there." in refusal(base)
