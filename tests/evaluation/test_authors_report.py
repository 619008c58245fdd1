"""Settings are chosen by what the validation prompts say, and verdicts by what the test prompts do."""

from dataclasses import replace
from pathlib import Path

import pytest

from domain.preferences import Method
from evaluation.plan import EvaluatedModels
from evaluation.real.authors.judging import Judged, judge
from evaluation.real.authors.measurement import FEW_SHOT, UNGUIDED, Condition, Written, write
from evaluation.real.authors.prompts import TEST_PROMPTS
from evaluation.real.authors.report import section, verdict
from evaluation.real.authors.study import ModelResults, Texts, choose
from evaluation.real.authors.texts import Author, read_authors
from evaluation.writing import Writer
from tests.tiny_model import write_tiny_model

WEAK, STRONG = Condition(Method.CONTRAST, 0.5), Condition(Method.CONTRAST, 4.0, 0.3)


def judged(condition: Condition, *own: bool, repeated: float = 0.0) -> list[Judged]:
    """One text for each outcome of attribution, each of a prompt of its own."""
    return [
        Judged(
            Written(condition, "scots", TEST_PROMPTS[place], "Och.", 300, 3, None),
            own=outcome,
            own_without_copies=outcome,
            own_strictly=outcome,
            copied=0.0,
            repeated=repeated,
            topic=1.0,
        )
        for place, outcome in enumerate(own)
    ]


def results(few_shot: list[Judged], contrast: list[Judged]) -> ModelResults:
    return ModelResults("a model", {}, {FEW_SHOT: few_shot, WEAK: contrast}, WEAK)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    folder = tmp_path_factory.mktemp("base")
    write_tiny_model(folder)
    return Writer.load(EvaluatedModels(str(folder)), device="cpu", max_tokens=4)


@pytest.fixture(scope="module")
def authors() -> tuple[Author, ...]:
    """With examples that fit a tiny model, and of their references a few: each is left out in turn."""
    return tuple(replace(each, examples=("tea", "rain"), references=each.references[:3]) for each in read_authors())


def test_the_setting_that_is_attributed_most_often_is_chosen() -> None:
    validation = {FEW_SHOT: judged(FEW_SHOT, True), WEAK: judged(WEAK, False), STRONG: judged(STRONG, True)}

    assert choose(validation, [WEAK, STRONG]) == STRONG


def test_a_setting_that_falls_into_loops_is_not_chosen_however_well_it_is_attributed() -> None:
    loops = judged(STRONG, True, repeated=0.5)
    validation = {FEW_SHOT: judged(FEW_SHOT, True), WEAK: judged(WEAK, False), STRONG: loops}

    assert choose(validation, [WEAK, STRONG]) == WEAK


@pytest.mark.parametrize(
    ("few_shot", "contrast", "wanted"),
    [
        ([False] * 12, [True] * 12, "carries more of it than few-shot"),
        ([True] * 12, [False] * 12, "carries less of it than few-shot"),
        ([True, False] * 6, [False, True] * 6, "cannot be told from few-shot"),
    ],
)
def test_the_verdict_says_what_the_interval_says(few_shot: list[bool], contrast: list[bool], wanted: str) -> None:
    said = verdict(results(judged(FEW_SHOT, *few_shot), judged(WEAK, *contrast)))

    assert wanted in said


def test_the_verdict_says_when_not_even_few_shot_carries_the_style() -> None:
    said = verdict(results(judged(FEW_SHOT, *[False] * 12), judged(WEAK, *[False] * 12)))

    assert "Few-shot does not carry the style" in said


def test_a_text_that_parrots_an_example_is_attributed_only_until_the_copy_is_taken_out() -> None:
    scots = next(author for author in read_authors() if author.name == "scots")
    parroted = Written(FEW_SHOT, "scots", TEST_PROMPTS[0], scots.examples[0], 300, 40, None)

    (said,) = judge([parroted], read_authors())

    assert said.copied == 1.0
    assert (said.own, said.own_without_copies, said.own_strictly) == (True, False, False)


def test_few_shot_and_contrast_have_equal_prompts_and_unguided_has_no_examples(
    writer: Writer, authors: tuple[Author, ...]
) -> None:
    plain, few_shot, contrast = (
        write(writer, authors[0], TEST_PROMPTS[:1], condition)[0] for condition in (UNGUIDED, FEW_SHOT, WEAK)
    )

    assert plain.num_prompt_tokens < few_shot.num_prompt_tokens == contrast.num_prompt_tokens
    assert few_shot.kl is None
    assert contrast.kl is not None


def test_what_was_written_is_read_back_and_not_written_again(
    writer: Writer, authors: tuple[Author, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.jsonl"
    first = Texts(path).of(writer, authors[0], TEST_PROMPTS[:2], STRONG)
    monkeypatch.setattr(writer, "decode", None)

    assert Texts(path).of(writer, authors[0], TEST_PROMPTS[:2], STRONG) == first


def test_the_section_is_the_same_again_and_shows_every_authors_texts(
    writer: Writer, authors: tuple[Author, ...], tmp_path: Path
) -> None:
    texts = Texts(tmp_path / "texts.jsonl")
    of = {
        condition: judge([t for a in authors for t in texts.of(writer, a, TEST_PROMPTS[:1], condition)], authors)
        for condition in (UNGUIDED, FEW_SHOT, WEAK)
    }
    studied = [ModelResults("tiny", of, of, WEAK)]

    written = section(studied, authors)

    assert section(studied, authors) == written
    assert all(f"**{author.name}**" in written for author in authors)
    assert "unguided | 10 |" in written
