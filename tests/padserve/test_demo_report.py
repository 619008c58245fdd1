import datetime as dt
import io

import pytest
from rich.console import Console

from examples.demo import report
from examples.demo.readers import METHODS, READERS, Written, items, make_prompts, profiles, written_in
from examples.story import page
from padserve.client.answers import Counts, Job, Result, Usage

TEXTS = {
    "none": "The next date is Monday.",
    "prompt": "Kindly note that the next date is Monday.",
    "pad": "Yay, the next date is Monday! No experience is needed.",
}


@pytest.fixture
def written() -> list[Written]:
    return [
        Written(reader, prompt, method, TEXTS[method], num_tokens=10)
        for prompt in make_prompts()
        for reader in READERS
        for method in METHODS
    ]


def shown(show: object, *arguments: object) -> str:
    output = io.StringIO()
    assert callable(show)
    show(Console(file=output, width=100), *arguments)
    return output.getvalue()


def test_three_readers_see_the_same_prompt_unguided_prompted_and_guided(written: list[Written]) -> None:
    output = shown(report.show_examples, written)

    assert f"Prompt: {make_prompts()[0]}\n" in output
    assert output.count(TEXTS["none"]) == 1
    assert output.count("guided, does it") == 1, "one of the three asked for playful"
    assert output.count("prompted, does it") == 1, "one of the three asked for formal"


def test_the_table_counts_by_the_rules(written: list[Written]) -> None:
    rows = {
        line.split()[0]: line.split()[-6:] for line in shown(report.show_satisfaction, written).splitlines() if line
    }

    assert rows["playful"] == ["0", "%", "0", "%", "100", "%"]
    assert rows["formal"] == ["0", "%", "100", "%", "0", "%"]
    assert rows["concise"] == ["100", "%", "100", "%", "100", "%"]


def test_the_throughput_is_from_the_first_claim_to_the_last_result() -> None:
    begin = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    total = 360
    counts = Counts(queued=0, running=0, succeeded=total, failed=0, cancelled=0, total=total)
    end = begin + dt.timedelta(seconds=36)
    job = Job("1", "completed", "base", counts, created_at=begin, started_at=begin, finished_at=end)

    output = shown(page.show_throughput, job, total, 3600)

    assert "360 texts, 3600 tokens in 36.0 s: 10.0 texts/s, 100 tokens/s" in output


def test_nothing_but_text_is_written_where_there_is_no_terminal(written: list[Written]) -> None:
    output = shown(report.show_examples, written) + shown(report.show_satisfaction, written)

    assert all(character.isprintable() or character == "\n" for character in output)


def test_every_item_names_its_reader_prompt_and_method() -> None:
    prompts = make_prompts()
    submitted = list(items(prompts))

    assert len({item["custom_id"] for item in submitted}) == len(submitted) == 360
    assert {item["user_id"] for item in submitted} == {profile["user_id"] for profile in profiles()}
    result = Result("dario/3/pad", 0, "dario", "succeeded", 1, "f00", text="Hi.", usage=Usage(5, 2, 7))
    assert written_in(result, prompts) == Written("dario", prompts[3], "pad", "Hi.", 2)
