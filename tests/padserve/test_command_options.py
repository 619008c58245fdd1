"""Submissions, flags and answers of the `padserve` command, against the real API."""

import json
import uuid
from dataclasses import fields
from pathlib import Path

import pytest

from api.jobs.schemas import ItemIn, Options
from domain.sampling import Sampling
from padserve.cli.options import JobOptions
from padserve.client.head_line import OPTION_NAMES
from padserve.client.tables import FIELDS
from tests.api.job_requests import items_of_job, preference_of
from tests.builders import DIGEST
from tests.padserve.command_line import Run
from tests.padserve.running_api import Server


def test_every_option_of_an_item_is_a_flag(padserve: Run, server: Server) -> None:
    Path("letter.txt").write_text("So long.")
    flags = {
        "--k": "7",
        "--top-p": "0.9",
        "--min-p": "0.1",
        "--repetition-penalty": "1.1",
        "--presence-penalty": "0.2",
        "--frequency-penalty": "0.3",
        "--seed": "5",
        "--min-tokens": "2",
        "--max-tokens": "9",
        "--stop": "END",
        "--logit-bias": "12=-1.5",
        "--template": "enable_thinking=false",
        "--temperature": "0.7",
        "--n": "2",
        "--principle": "terse=2",
        "--strength": "1.5",
        "--example": "letter.txt",
        "--metadata": "name=spring",
    }

    made = padserve(
        "campaign", "Hi", "--all", "--rewards", "--json", *(part for pair in flags.items() for part in pair)
    )

    job = json.loads(made.output)
    (item,) = items_of_job(server.database, uuid.UUID(job["id"]))
    sampling, preference = Sampling.from_body(item.sampling), preference_of(server.database, item)
    assert job["metadata"] == {"name": "spring"}
    assert (sampling.k, sampling.top_p, sampling.min_p, sampling.seed, sampling.n) == (7, 0.9, 0.1, 5, 2)
    assert (sampling.stop, sampling.logit_bias, sampling.rewards) == (("END",), ((12, -1.5),), True)
    assert (sampling.min_tokens, sampling.max_tokens, sampling.temperature) == (2, 9, 0.7)
    assert (preference["strength"], preference["principles"]) == (1.5, [["terse", 1.0]])


def test_every_option_that_the_api_knows_for_an_item_has_a_flag() -> None:
    not_flags = {"custom_id", "user_id", "prompt", "messages"}
    named_otherwise = {"principles": "principle", "examples": "example", "chat_template_kwargs": "template"}

    known = {named_otherwise.get(name, name) for name in {*ItemIn.model_fields, *Options.model_fields} - not_flags}

    assert known - {"defaults"} <= {field.name for field in fields(JobOptions)}
    assert ItemIn.model_fields.keys() <= FIELDS
    assert set(Options.model_fields) == OPTION_NAMES


def test_a_wrong_flag_is_told_by_its_name(padserve: Run) -> None:
    Path("items.ndjson").write_text('{"custom_id": "a", "user_id": "ada", "prompt": "hi"}\nnot json\n')

    wrong = padserve("submit", "items.ndjson", "--max-tokens", "0", "--priority", "high")

    title, *lines = wrong.errors.splitlines()
    assert (wrong.exit_code, title) == (1, "Error: 3 things are wrong:")
    assert sorted(line.split(":")[0].strip() for line in lines) == ["--max-tokens", "--priority", "line 2"]


def test_after_a_submission_it_is_said_how_to_read_the_texts(padserve: Run) -> None:
    made = padserve("campaign", "Hi", "--all")

    assert f"padserve results {made.output.strip()}\n" in made.errors


def test_a_csv_file_is_submitted_with_names_for_its_columns(padserve: Run, server: Server) -> None:
    Path("people.csv").write_text("user_id,text,note\nada,Hi,x\n")

    unnamed = padserve("submit", "people.csv")
    named = padserve("submit", "people.csv", "--column", "text=prompt", "--column", "note=")

    assert (unnamed.exit_code, named.exit_code) == (1, 0)
    assert "people.csv has a column 'text', which is no field of an item" in unnamed.errors


def test_options_of_a_job_stand_in_for_what_its_items_leave_unsaid(padserve: Run, server: Server) -> None:
    Path("items.ndjson").write_text('{"custom_id": "a", "user_id": "ada", "prompt": "hi"}\n')

    options = ["--method", "contrast", "--max-kl", "0.5", "--temperature", "0.7", "--n", "3"]
    job_id = padserve("submit", "items.ndjson", *options).output.strip()

    (item,) = items_of_job(server.database, uuid.UUID(job_id))
    sampling = Sampling.from_body(item.sampling)
    assert (sampling.temperature, sampling.n) == (0.7, 3)
    assert preference_of(server.database, item)["max_kl"] == 0.5


@pytest.mark.parametrize("weight", ["nan", "inf"])
def test_a_weight_that_is_no_number_is_refused(padserve: Run, weight: str) -> None:
    ended = padserve("profiles", "set", "ada", "-p", f"formal={weight}")

    assert ended.exit_code == 2
    assert "must be a finite number" in ended.errors


def test_text_that_is_not_unicode_is_one_line(padserve: Run) -> None:
    ended = padserve("profiles", "get", "a\udcff")

    assert (ended.exit_code, ended.errors) == (1, "Error: What was typed is not UTF-8 text.\n")


def test_results_of_a_running_job_are_not_taken_for_all_of_them(padserve: Run, server: Server) -> None:
    job_id = padserve("campaign", "Hi", "--user", "ada").output.strip()

    early = padserve("results", job_id, "-o", "out.ndjson")
    content = padserve("results", job_id, "--partial")
    server.decode(1)
    late = padserve("results", job_id, "--wait", "-o", "out.ndjson")

    assert early.exit_code == 3
    assert early.errors == (
        "0 results are in out.ndjson.\n"
        f"Not all: 1 of 1 items have not ended. For all of them: padserve results {job_id} --wait\n"
    )
    assert (content.exit_code, late.exit_code) == (0, 0)
    assert late.errors.splitlines()[-1] == "1 results are in out.ndjson."


def test_jobs_and_models_and_profiles_answer_in_json(padserve: Run, server: Server) -> None:
    job_id = padserve("campaign", "Hi", "--all").output.strip()
    server.decode(1)

    watched = padserve("jobs", "watch", job_id, "--json")

    assert json.loads(watched.output)["state"] == "completed"
    assert [job["id"] for job in json.loads(padserve("jobs", "--json").output)] == [job_id]
    assert json.loads(padserve("models", "--json").output)[0]["digest"] == DIGEST
    assert json.loads(padserve("profiles", "list", "--json").output)[0]["user_id"] == "ada"
    assert json.loads(padserve("status", job_id, "--json").output)["counts"]["succeeded"] == 1
    assert max(len(line.rstrip()) for line in padserve("jobs").output.splitlines()) <= 60


def test_a_key_that_is_too_long_is_told_by_its_flag(padserve: Run) -> None:
    Path("items.ndjson").write_text('{"custom_id": "1", "user_id": "ada", "prompt": "Hello"}\n')

    ended = padserve("submit", "items.ndjson", "--key", "x" * 300)

    assert ended.exit_code == 1
    assert "--key: Header parameter: At most 255 characters are allowed." in ended.errors
