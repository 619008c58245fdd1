"""What a checkpoint's generation_config.json asks for is passed on, or named where it cannot be done."""

import shutil
from pathlib import Path

import pytest

from tests.engine.models import Family, change
from worker.engine import Engine, GenerationDefaults, ModelError, load_engine

SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05}


@pytest.fixture
def folder(families: dict[str, Family], tmp_path: Path) -> Path:
    return Path(shutil.copytree(families["llama"].base, tmp_path / "base"))


def loaded(folder: Path, **settings: object) -> Engine:
    change(folder / "generation_config.json", **settings)
    return load_engine(str(folder))


def test_a_checkpoint_that_asks_for_nothing_changes_nothing(folder: Path) -> None:
    engine = loaded(folder)

    assert engine.generation_defaults == GenerationDefaults()
    assert engine.warnings == ()


def test_sampling_and_penalty_are_passed_on(folder: Path) -> None:
    engine = loaded(folder, **SAMPLING, repetition_penalty=1.1)

    assert engine.generation_defaults == GenerationDefaults(
        do_sample=True, temperature=0.7, top_k=20, top_p=0.8, min_p=0.05, repetition_penalty=1.1
    )


def test_a_greedy_checkpoint_keeps_its_penalty_only(folder: Path) -> None:
    engine = loaded(folder, **(SAMPLING | {"do_sample": False}), typical_p=0.5, repetition_penalty=1.3)

    assert engine.generation_defaults == GenerationDefaults(repetition_penalty=1.3)
    assert engine.warnings == ()


def test_no_top_k_is_the_whole_vocabulary(folder: Path) -> None:
    assert loaded(folder, do_sample=True, top_k=0).generation_defaults == GenerationDefaults(do_sample=True)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_beams": 4, "no_repeat_ngram_size": 3}, "asks for no_repeat_ngram_size=3, num_beams=4, which"),
        ({"bad_words_ids": [[5]]}, "asks for bad_words_ids=[[5]], which"),
        ({"do_sample": True, "typical_p": 0.5}, "asks for typical_p=0.5, which"),
        ({"suppress_tokens": [1, 2]}, "asks for suppress_tokens=[1, 2], which"),
        ({"min_new_tokens": 5}, "asks for min_new_tokens=5, which"),
    ],
    ids=["beams", "bad words", "typical", "suppressed", "least tokens"],
)
def test_what_cannot_be_done_is_named(folder: Path, settings: dict[str, object], named: str) -> None:
    engine = loaded(folder, **settings)

    (warning,) = engine.warnings
    assert named in warning


def test_neutral_values_are_not_named(folder: Path) -> None:
    neutral = {"num_beams": 1, "typical_p": 1.0, "no_repeat_ngram_size": 0, "do_sample": True, "suppress_tokens": []}

    assert loaded(folder, **neutral).warnings == ()


def test_a_file_that_transformers_would_leave_out_silently_is_refused(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{")

    with pytest.raises(ModelError, match=r"generation_config.json in .* cannot be read") as refused:
        load_engine(str(folder))
    assert refused.value.code == "generation_config_unreadable"


def test_a_model_that_nothing_ends_is_named(folder: Path) -> None:
    change(folder / "config.json", eos_token_id=None)

    (warning,) = loaded(folder, eos_token_id=None).warnings

    assert warning.startswith("No token ends a text of")
