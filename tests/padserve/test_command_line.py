"""The `padserve` command as people type it, against the real API."""

import io
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from db.models import Fit
from db.queries import fits
from db.registry_models import Model, Worker
from db.session import Database
from domain.json_values import JsonObject
from tests.builders import DIGEST, a_description, a_model
from tests.padserve.command_line import Run
from tests.padserve.running_api import Server

LEARNED: JsonObject = {"num_pairs": 6, "base_version": 2, "deviations": [0.5, 0.5], "agreement": 1.0}


def test_without_a_server_one_line_says_how_to_get_one(offline: Run) -> None:
    ended = offline("jobs")

    assert ended.exit_code == 1
    assert ended.errors == (
        "Error: No server is running here: start one with `padserve up`, or set PADSERVE_URL and PADSERVE_API_KEY.\n"
    )


def test_the_server_and_key_of_a_stack_in_this_folder_are_found(offline: Run, server: Server, tmp_path: Path) -> None:
    (tmp_path / ".padserve").mkdir()
    (tmp_path / ".padserve" / "url").write_text(f"{server.url}\n")
    (tmp_path / ".padserve" / "api_key").write_text(f"{server.api_key}\n")

    assert offline("jobs").exit_code == 0


def test_up_without_a_model_says_what_to_set(offline: Run) -> None:
    ended = offline("up")

    assert ended.exit_code == 1
    assert "PADSERVE_MODEL is not set" in ended.errors


def test_an_unknown_setting_is_refused_by_every_command(offline: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADSERVE_PROT", "80")

    ended = offline("up")

    assert ended.exit_code == 1
    assert ended.errors == "Error: PADSERVE_PROT is not a known setting: did you mean PADSERVE_PORT?\n"


def test_a_wrong_key_is_one_line(padserve: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADSERVE_API_KEY", "wrong")

    ended = padserve("jobs")

    assert (ended.exit_code, ended.output) == (1, "")
    assert ended.errors == "Error: This API key is unknown, expired or revoked.\n"


def test_a_file_is_submitted_and_its_results_are_written_to_another(
    padserve: Run, server: Server, tmp_path: Path
) -> None:
    Path("items.ndjson").write_text('{"custom_id": "a", "user_id": "ada", "prompt": "hi"}\n')

    submitted = padserve("submit", "items.ndjson", "--max-tokens", "9")
    job_id = submitted.output.strip()
    server.decode(1)
    waited = padserve("status", job_id, "--watch")
    fetched = padserve("results", job_id, "-o", "out.ndjson")

    assert "1 items are queued" in submitted.errors
    assert (waited.exit_code, waited.errors.splitlines()[-1]) == (0, "completed: 1 of 1 items (100 %)")
    assert fetched.errors == "1 results are in out.ndjson.\n"
    assert json.loads(Path("out.ndjson").read_text())["text"] == "HI"
    assert padserve("results", job_id).output == Path("out.ndjson").read_text()
    assert [file.name for file in tmp_path.glob(".*")] == [], "no partial file is left"


def test_a_job_that_nobody_decodes_says_so_when_it_is_submitted(padserve: Run, server: Server) -> None:
    Path("items.ndjson").write_text('{"custom_id": "a", "user_id": "ada", "prompt": "hi"}\n')
    with server.database.transaction() as session:
        session.execute(delete(Worker))

    submitted = padserve("submit", "items.ndjson")

    assert submitted.errors.startswith("1 items are queued. No worker is running.\n")


def test_examples_of_a_profile_are_files(padserve: Run) -> None:
    Path("letter.txt").write_text("Dear all,\n\nso long.\n")

    padserve("profiles", "set", "ada", "--example", "letter.txt", "--max-kl", "0.4")

    shown = json.loads(padserve("profiles", "get", "ada").output)
    assert (shown["examples"], shown["max_kl"]) == (["Dear all,\n\nso long."], 0.4)


def test_standard_input_can_be_submitted(padserve: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    item = '{"custom_id": "a", "user_id": "ada", "prompt": "hi"}\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(item.encode())))

    assert padserve("submit", "-").exit_code == 0


def test_every_wrong_line_of_a_file_is_listed(padserve: Run) -> None:
    Path("items.ndjson").write_text('{"custom_id": "a", "user_id": "nobody", "prompt": "hi"}\nnot json\n')

    ended = padserve("submit", "items.ndjson")

    assert ended.exit_code == 1
    title, *lines = ended.errors.splitlines()
    assert title.startswith("Error: ")
    assert [line.split(":")[0] for line in lines] == ["  line 1, /user_id", "  line 2"]


def test_items_that_failed_give_exit_code_1(padserve: Run, server: Server) -> None:
    job_id = padserve("campaign", "Dear {first_name}", "--tag", "beta").output.strip()
    server.decode(1, error_code="poisoned")

    ended = padserve("status", job_id, "--watch")

    assert ended.exit_code == 1
    assert "1 failed" in ended.errors


@pytest.mark.parametrize("audience", [(), ("--all", "--user", "ada")])
def test_a_campaign_needs_exactly_one_audience(padserve: Run, audience: tuple[str, ...]) -> None:
    ended = padserve("campaign", "Hi", *audience)

    assert ended.exit_code == 2
    assert "either --tag, --all-tag and --no-tag, or --user, or --all" in ended.errors


def test_jobs_are_listed_with_whole_ids_and_can_be_cancelled(padserve: Run) -> None:
    job_id = padserve("campaign", "Hi", "--all").output.strip()

    cancelled = padserve("cancel", job_id)

    assert cancelled.output == "cancelled: 1 of 1 items (100 %), 1 cancelled\n"
    assert padserve("jobs").output.splitlines()[1].split()[0] == job_id
    assert padserve("cancel", job_id) == cancelled, "to be sure, one may say it twice"


def test_a_job_is_paused_resumed_retried_and_deleted(padserve: Run) -> None:
    wanted = ("--priority", "bulk", "--completion-window", "24h", "--not-before", "2020-01-01T12:00")
    job_id = padserve("campaign", "Hi", "--all", *wanted).output.strip()

    paused, resumed = padserve("jobs", "pause", job_id), padserve("jobs", "resume", job_id)
    too_early = padserve("jobs", "delete", job_id)
    padserve("cancel", job_id)
    too_late = padserve("jobs", "retry", job_id)
    deleted = padserve("jobs", "delete", job_id)

    assert "Paused: resume the job to let it go on." in paused.output
    assert "Paused" not in resumed.output
    assert (too_early.exit_code, too_late.exit_code) == (1, 1)
    assert "The job has not ended: cancel it first." in too_early.errors
    assert "The job was cancelled" in too_late.errors
    assert (deleted.exit_code, deleted.errors) == (0, f"{job_id} is deleted.\n")
    assert padserve("jobs", "--state", "cancelled").errors == "There are no jobs.\n"


def test_a_job_is_given_another_priority_and_a_wrong_one_is_told_by_its_name(padserve: Run) -> None:
    job_id = padserve("campaign", "Hi", "--all").output.strip()

    given = padserve("jobs", "priority", job_id, "bulk", "--json")
    wrong = padserve("jobs", "priority", job_id, "high")

    assert (json.loads(given.output)["priority"], given.exit_code) == ("bulk", 0)
    assert (wrong.exit_code, wrong.output) == (1, "")
    assert "PRIORITY: " in wrong.errors
    assert json.loads(padserve("status", job_id, "--json").output)["priority"] == "bulk"


def test_profiles_are_set_shown_listed_moved_and_removed(padserve: Run) -> None:
    padserve("profiles", "set", "bob", "-p", "humor", "-p", "short=0.5", "--method", "mixture")

    shown = json.loads(padserve("profiles", "get", "bob").output)
    assert shown["principles"] == [{"text": "humor", "weight": 1.0}, {"text": "short", "weight": 0.5}]
    assert re.search(r"bob +1 +mixture +humor, short \(0.5\)", padserve("profiles", "list").output)
    assert padserve("profiles", "export", "-o", "all.ndjson").errors == "2 profiles are in all.ndjson.\n"
    assert padserve("profiles", "delete", "bob").output == "bob is removed.\n"
    dry_run = padserve("profiles", "import", "all.ndjson", "--dry-run").output
    assert dry_run == "1 created, 0 updated, 1 unchanged (dry run: nothing was stored).\n"
    assert padserve("profiles", "import", "all.ndjson").output == "1 created, 0 updated, 1 unchanged.\n"


def test_the_version_is_shown(offline: Run) -> None:
    assert re.fullmatch(r"padserve \d+\.\d+\.\d+\n", offline("--version").output)


def test_train_hands_its_options_to_the_training_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "padserve", "train"]

    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    options = ("--base", "b", "--pairs", str(tmp_path / "none.jsonl"), "--out", "o")
    refused = subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    assert "usage: padserve train" in helped.stdout
    assert "--value-head-epochs" in helped.stdout
    assert refused.returncode == 1
    assert "none.jsonl cannot be read" in refused.stderr


def test_feedback_from_a_file_is_given_and_looked_at(padserve: Run, server: Server, tmp_path: Path) -> None:
    padserve("profiles", "set", "ada", "-p", "formal", "-p", "playful", "--learn")
    pairs = [{"prompt": f"tea {number}", "chosen": "Yes?", "rejected": "Yes."} for number in range(6)]
    (tmp_path / "pairs.ndjson").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "more.ndjson").write_text(json.dumps(pairs[0] | {"prompt": "coffee"}))

    before = padserve("profiles", "feedback", "ada")
    given = padserve("profiles", "feedback", "ada", "pairs.ndjson")
    after = padserve("profiles", "feedback", "ada")
    learn(server.database)
    learnt = padserve("profiles", "feedback", "ada")
    padserve("profiles", "feedback", "ada", "more.ndjson")
    learn(server.database)
    unchanged = padserve("profiles", "feedback", "ada")

    assert before.output == "Pairs stored: 0; no fit was asked for yet.\n"
    assert given.output == "Pairs: 6 new, 0 known, 6 in all.\nThe fit to the pairs is queued.\n"
    assert after.output == "The fit to the pairs is queued.\n"
    assert learnt.output == "Version 3 of the profile was learnt from 6 pairs.\n"
    assert unchanged.output == "The weights came out as they were, from 6 pairs: no version was written.\n"


def test_what_was_learnt_from_withdrawn_feedback_is_told_as_forgotten(
    padserve: Run, server: Server, tmp_path: Path
) -> None:
    padserve("profiles", "set", "ada", "-p", "formal", "-p", "playful", "--learn")
    pairs = [{"prompt": f"tea {number}", "chosen": "Yes?", "rejected": "Yes."} for number in range(6)]
    (tmp_path / "pairs.ndjson").write_text("\n".join(map(json.dumps, pairs)))
    padserve("profiles", "feedback", "ada", "pairs.ndjson")
    learn(server.database)

    padserve("profiles", "feedback", "ada", "--withdraw")
    after = padserve("profiles", "feedback", "ada")

    assert after.output == "Version 3 of the profile was learnt from 6 pairs. They are forgotten.\n"


def test_feedback_is_withdrawn_before_other_is_given(padserve: Run, tmp_path: Path) -> None:
    padserve("profiles", "set", "ada", "-p", "formal", "-p", "playful", "--learn")
    pair = {"prompt": "tea", "chosen": "Yes?", "rejected": "Yes."}
    (tmp_path / "pairs.ndjson").write_text(json.dumps(pair))
    (tmp_path / "turned.ndjson").write_text(json.dumps(pair | {"chosen": "Yes.", "rejected": "Yes?"}))
    (tmp_path / "broken.ndjson").write_text("{broken")
    padserve("profiles", "feedback", "ada", "pairs.ndjson")

    broken = padserve("profiles", "feedback", "ada", "broken.ndjson", "--withdraw")
    refused = padserve("profiles", "feedback", "ada", "turned.ndjson")
    replaced = padserve("profiles", "feedback", "ada", "turned.ndjson", "--withdraw")
    gone = padserve("profiles", "feedback", "ada", "--withdraw")
    after = padserve("profiles", "feedback", "ada")

    forgotten = "What was said before is forgotten; the profile stays as it is.\n"
    assert (broken.exit_code, broken.output) == (1, "")
    assert (refused.exit_code, replaced.exit_code) == (1, 0)
    assert replaced.output.startswith(f"{forgotten}Pairs: 1 new, 0 known, 1 in all.\n")
    assert gone.output == forgotten
    assert after.output == "Pairs stored: 0; no fit was asked for yet.\n"


def test_feedback_that_cannot_be_read_or_is_refused_ends_in_a_line(padserve: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.ndjson").write_text('{"prompt": "tea"}\n{broken\n')
    (tmp_path / "pairs.ndjson").write_text('{"prompt": "tea", "chosen": "a", "rejected": "b"}\n')
    (tmp_path / "deep.ndjson").write_text("[" * 100_000)
    (tmp_path / "wide.ndjson").write_text('{"prompt": "tea"}\n', encoding="utf-16")
    (tmp_path / "latin.ndjson").write_text('{"prompt": "thé"}\n', encoding="latin-1")

    broken = padserve("profiles", "feedback", "ada", "broken.ndjson")
    deep = padserve("profiles", "feedback", "ada", "deep.ndjson")
    wide = padserve("profiles", "feedback", "ada", "wide.ndjson")
    latin = padserve("profiles", "feedback", "ada", "latin.ndjson")
    refused = padserve("profiles", "feedback", "ada", "pairs.ndjson")

    assert (broken.exit_code, refused.exit_code) == (1, 1)
    assert broken.errors.startswith("Error: Line 2 of broken.ndjson is not JSON:")
    assert deep.errors.startswith("Error: Line 1 of deep.ndjson is not JSON:")
    assert wide.errors == "Error: wide.ndjson is UTF-16 text: save it as UTF-8.\n"
    assert latin.errors == "Error: Line 1 of latin.ndjson is not UTF-8 text.\n"
    assert "without the user's consent nothing is learnt" in refused.errors


def test_feedback_names_its_model_where_several_are_served(padserve: Run, server: Server, tmp_path: Path) -> None:
    padserve("profiles", "set", "ada", "-p", "formal", "-p", "playful", "--learn")
    a_model(server.database, "other", a_description("e" * 64))
    pairs = [{"prompt": f"tea {number}", "chosen": "Yes?", "rejected": "Yes."} for number in range(6)]
    (tmp_path / "pairs.ndjson").write_text("\n".join(map(json.dumps, pairs)))

    unsaid = padserve("profiles", "feedback", "ada", "pairs.ndjson")
    misspelt = padserve("profiles", "feedback", "ada", "pairs.ndjson", "--model", "othr")
    named = padserve("profiles", "feedback", "ada", "pairs.ndjson", "--model", "other")

    assert (unsaid.exit_code, misspelt.exit_code, named.exit_code) == (1, 1, 0)
    assert "--model: There are several models: name one of `hub/tiny-model`, `other` as `model`." in unsaid.errors
    assert "--model: There is no model `othr` here" in misspelt.errors
    assert named.output.startswith("Pairs: 6 new")
    with server.database.reading() as session:
        assert session.scalars(select(Fit.model)).all() == ["other"]


def learn(database: Database) -> None:
    """Do a worker's part for the fit that waits."""
    owner = uuid.uuid4()
    with database.transaction() as session:
        fit = fits.claim(session, owner=owner, model_digest=DIGEST, lease_seconds=60)
        assert fit is not None
        fits.succeed(session, owner=owner, fit=fit, body=fit.profile.body | {"method": "mixture"}, learned=LEARNED)


def test_models_are_listed_in_a_narrow_table_and_a_job_can_name_one(padserve: Run, server: Server) -> None:
    a_model(server.database, "other", a_description("e" * 64, has_policy=False), aliases=("latest",))

    listed = padserve("models")
    refused = padserve("campaign", "Write.", "--all")
    accepted = padserve("campaign", "Write.", "--all", "--model", "latest")

    assert listed.output.split() == [
        *("model", "digest", "state", "length", "method"),
        *("hub/tiny-model", "dddddddd", "ready", "512", "pad"),
        *("other", "eeeeeeee", "ready", "512", "contrast"),
    ]
    assert max(map(len, listed.output.splitlines())) <= 60
    assert "other is also called latest." in listed.errors
    assert (refused.exit_code, "`hub/tiny-model`, `other`" in refused.errors) == (1, True)
    assert accepted.exit_code == 0


def test_a_job_is_given_to_another_model(padserve: Run, server: Server) -> None:
    job_id = padserve("campaign", "Write.", "--all", "--method", "contrast").output.strip()
    a_model(server.database, "other", a_description("e" * 64, has_policy=False))

    ended = padserve("readdress", job_id, "--model", "other")

    assert (ended.exit_code, ended.output) == (
        0,
        "queued: 0 of 1 items (0 %), Waiting for a worker to take its first items.\n",
    )
    with server.client() as client:
        assert (client.job(job_id).model, client.job(job_id).model_digest) == ("other", "e" * 64)


def test_a_server_without_a_model_says_so(padserve: Run, server: Server) -> None:
    with server.database.transaction() as session:
        session.execute(delete(Model))

    assert padserve("models").errors == "No worker has registered a model yet.\n"
