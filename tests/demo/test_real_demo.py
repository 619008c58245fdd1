import io
from itertools import pairwise

import pytest
from rich.console import Console

from examples.real_demo import report
from examples.real_demo.counts import (
    COUNTED,
    echoes_its_wish,
    exclamation_marks,
    greets_as_noor,
    letters_per_word,
    loops,
    pirate_words,
    words_per_sentence,
    words_per_text,
)
from examples.real_demo.readers import EVERYONE, METHODS, PROMPTS, READERS, Written, items, profiles, written_in
from padserve.client.answers import Result, Usage


def wrote(reader: str, text: str, method: str = "contrast", prompt: str = PROMPTS[0]) -> Written:
    guided = method == "contrast"
    return Written(reader, prompt, method, text, 10, kl=0.25 if guided else None, reward=2.0 if guided else None)


@pytest.fixture
def written() -> list[Written]:
    texts = {"none": "It is late.", "prompt": "Sorry, it is late.", "contrast": "Arr! It be late!"}
    return [
        wrote(str(item["user_id"]), texts[str(item["method"])], str(item["method"]), str(item["prompt"]))
        for item in items()
    ]


def shown(show: object, *arguments: object) -> str:
    output = io.StringIO()
    assert callable(show)
    show(Console(file=output, width=80), *arguments)
    return output.getvalue()


def test_every_prompt_is_written_once_unguided_and_for_every_reader_prompted_and_guided() -> None:
    submitted = list(items())

    assert len({item["custom_id"] for item in submitted}) == len(submitted)
    assert len(submitted) == len(PROMPTS) * (1 + 2 * len(READERS)) <= 60, "a few dozen"
    assert {item["user_id"] for item in submitted} == {profile["user_id"] for profile in profiles()}


def test_nothing_is_stated_but_the_method() -> None:
    """The demo shows what a model gives by itself, uncalibrated."""
    assert all(set(item) == {"custom_id", "user_id", "prompt", "method"} for item in items())
    assert not any({"method", "strength", "max_kl"} & set(profile) for profile in profiles())


def test_one_reader_has_examples_and_no_principles_and_the_unguided_one_neither() -> None:
    by_name = {profile["user_id"]: profile for profile in profiles()}

    assert [name for name, profile in by_name.items() if profile["examples"]] == ["noor"]
    assert not by_name["noor"]["principles"]
    assert not by_name[EVERYONE]["principles"]


def test_a_result_says_what_was_written_and_what_guidance_did() -> None:
    result = Result(
        "mia/2/contrast", 0, "mia", "succeeded", 1, "f00", text="Blue!", usage=Usage(5, 2, 7), reward=1.5, kl=0.2
    )

    assert written_in(result) == Written("mia", PROMPTS[2], "contrast", "Blue!", 2, kl=0.2, reward=1.5)


def test_words_letters_and_marks_are_counted() -> None:
    texts = ["One two. Three four!", "Five six seven eight"]

    assert words_per_text(texts) == 4
    assert words_per_sentence(texts) == pytest.approx(8 / 3)
    assert letters_per_word(["ab abcd 123"]) == 3
    assert exclamation_marks(["Hi! Ho!", "Hm."]) == 1
    assert words_per_sentence(["It costs 3.50 euros"]) == 5, "a point in a number ends no sentence"


def test_a_pirates_word_is_a_whole_word() -> None:
    assert pirate_words(["Ahoy, the parcel is late.", "You see, yesterday it was seasoned."]) == 0.5


def test_noors_greeting_is_found_behind_a_quotation_mark() -> None:
    assert greets_as_noor(['"Hey you! it is late."', "They are late."]) == 0.5


def test_a_text_that_repeats_the_wording_of_its_wish_echoes_it() -> None:
    assert echoes_its_wish(wrote("jack", 'Your task: "Write like a pirate".'))
    assert not echoes_its_wish(wrote("jack", "Arr, a pirate would like a parcel."))
    assert not echoes_its_wish(wrote("ana", "Write like a pirate."))


def test_a_text_that_goes_round_in_circles_is_named() -> None:
    assert loops(wrote("jack", "and a friend of mine and a friend of mine and a friend of mine"))
    assert not loops(wrote("jack", "Your parcel is late by one day, and we are sorry for that."))


def test_every_wish_is_counted() -> None:
    assert set(COUNTED) == set(READERS)


def test_three_readers_see_the_first_prompt_unguided_prompted_and_guided(written: list[Written]) -> None:
    output = shown(report.show_examples, written)

    assert f"Prompt: {PROMPTS[0]}\n" in output
    assert output.count("It is late.") == 1, "unguided, once for all"
    assert output.count("guided, KL 0.25, reward 2.0  Arr! It be late!") == 3
    assert output.count("prompted") == 3


def test_the_table_holds_a_count_by_method(written: list[Written]) -> None:
    output = shown(report.show_counts, written)
    cells = {
        reader: line.split()[-len(METHODS) :]
        for line in output.splitlines()
        for reader, counted in COUNTED.items()
        if counted.label in line
    }

    assert cells["ben"] == ["0.0", "0.0", "2.0"]
    assert cells["jack"] == ["0%", "0%", "100%"]
    assert cells["otto"] == ["3", "4", "4"]
    assert next(line for line in output.splitlines() if "nats" in line).split()[-1] == "0.25"


def test_columns_keep_their_order() -> None:
    labels = list(report.LABELS.values())
    header = next(line for line in shown(report.show_counts, _one_each()).splitlines() if "asked for" in line)

    assert all(header.index(before) < header.rindex(after) for before, after in pairwise(labels))


def _one_each() -> list[Written]:
    return [wrote(str(item["user_id"]), "It is.", str(item["method"]), str(item["prompt"])) for item in items()]
