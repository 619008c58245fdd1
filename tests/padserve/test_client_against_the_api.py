import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from padserve import Campaign, Client, ConflictError, InvalidRequestError, NotFoundError, Principle
from tests.builders import DIGEST, a_description, a_model
from tests.padserve.running_api import Server


def three_items() -> list[dict[str, object]]:
    return [{"custom_id": f"c{n}", "user_id": "ada", "prompt": f"hello {n}"} for n in range(3)]


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of a server that knows the user ada."""
    with server.client() as client:
        client.profiles.put("ada", principles=["formal"], attributes={"first_name": "Ada"}, tags=["beta"])
        yield client


def test_a_profile_is_stored_read_changed_and_removed(client: Client) -> None:
    stored = client.profiles.put(
        "bob", principles=["humor", Principle("short", 0.5)], method="mixture", strength=0.8, tags=["beta"]
    )
    changed = client.profiles.patch("bob", {"strength": None, "attributes": {"city": "Rome"}}, if_match=stored.etag)

    assert stored.principles == (Principle("humor"), Principle("short", 0.5))
    assert (changed.version, changed.strength, changed.attributes) == (2, None, {"city": "Rome"})
    assert client.profiles.get("bob") == changed
    with pytest.raises(ConflictError):
        client.profiles.delete("bob", if_match=stored.etag)
    client.profiles.delete("bob")
    with pytest.raises(NotFoundError):
        client.profiles.get("bob")


def test_budget_and_examples_of_a_profile_are_stored_and_read(client: Client) -> None:
    stored = client.profiles.put("bob", principles=["humor"], max_kl=0.4, examples=["Dear all,", "So long!"])

    assert (stored.max_kl, stored.examples) == (0.4, ("Dear all,", "So long!"))
    assert client.profiles.get("bob") == stored


def test_profiles_are_listed_over_pages_and_by_tag(client: Client) -> None:
    for name in ("bob", "cleo", "dora"):
        client.profiles.put(name, tags=["gamma"])

    assert [profile.user_id for profile in client.profiles.list(page_size=2)] == ["ada", "bob", "cleo", "dora"]
    assert [profile.user_id for profile in client.profiles.list(tags=["gamma"])] == ["bob", "cleo", "dora"]


def test_an_export_can_be_imported(client: Client, tmp_path: Path) -> None:
    exported = tmp_path / "profiles.ndjson"
    exported.write_text("\n".join(client.profiles.export_lines()))

    dry = client.profiles.import_([{"user_id": "bob"}], dry_run=True)
    again = client.profiles.import_(exported)

    assert (dry.dry_run, dry.num_created) == (True, 1)
    assert (again.num_profiles, again.num_unchanged) == (1, 1)


def test_a_wrong_line_of_an_import_is_named(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.profiles.import_([{"user_id": "bob"}, {"user_id": "cleo", "strength": "much"}])

    assert [(error.line, error.pointer) for error in caught.value.errors] == [(2, "/strength")]


def test_items_are_submitted_followed_and_read_in_input_order(client: Client, server: Server) -> None:
    job = client.submit(three_items(), defaults={"method": "none"}, metadata={"name": "spring"})
    assert (job.counts.total, job.counts.queued, job.metadata) == (3, 3, {"name": "spring"})

    server.decode(2)
    assert client.job(job.id).counts.percent_ended == 66
    server.decode(1, error_code="poisoned")

    results = list(client.results(job.id))
    assert [(result.custom_id, result.state, result.text) for result in results] == [
        ("c0", "succeeded", "HELLO 0"),
        ("c1", "succeeded", "HELLO 1"),
        ("c2", "failed", None),
    ]
    assert results[0].usage is not None
    assert results[0].usage.completion_tokens == 4
    assert results[2].error is not None
    assert results[2].error.code == "poisoned"
    assert [result.custom_id for result in client.results(job.id, state="failed")] == ["c2"]


def test_a_file_is_submitted_as_it_is(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "items.ndjson"
    file.write_text('{"metadata": {"from": "file"}}\n{"custom_id": "1", "user_id": "ada", "prompt": "Grüße"}\n')

    job = client.submit(file)

    assert (job.counts.total, job.metadata) == (1, {"from": "file"})


def test_a_campaign_reaches_its_audience(client: Client, server: Server) -> None:
    client.profiles.put("bob", attributes={"first_name": "Bob"})

    job = client.submit(Campaign("Dear {first_name}", tags=["beta"]))
    everyone = client.submit(Campaign("Dear {first_name}", everyone=True))
    named = client.submit(Campaign("Dear {first_name}", user_ids=["bob"]))
    server.decode(1)

    assert [each.counts.total for each in (job, everyone, named)] == [1, 2, 1]
    assert [result.text for result in client.results(job.id)] == ["DEAR ADA"]


def test_the_same_key_and_content_make_one_job(client: Client) -> None:
    first = client.submit(three_items(), idempotency_key="spring")
    again = client.submit(three_items(), idempotency_key="spring")

    assert again.id == first.id
    assert [job.id for job in client.jobs()] == [first.id]


def test_jobs_are_listed_newest_first_over_pages_and_by_state(client: Client) -> None:
    made = [client.submit(three_items()).id for _ in range(3)]
    client.cancel(made[0])

    assert [job.id for job in client.jobs(page_size=2)] == made[::-1]
    assert [job.id for job in client.jobs(state="cancelled")] == made[:1]


def test_a_cancelled_job_keeps_what_has_finished(client: Client, server: Server) -> None:
    job = client.submit(three_items())
    server.decode(1)

    ended = client.cancel(job.id)

    assert client.wait(job.id) == client.job(job.id)
    assert (ended.state, ended.counts.succeeded, ended.counts.cancelled) == ("cancelled", 1, 2)


def test_a_job_says_when_it_is_wanted_and_is_paused_resumed_retried_and_deleted(client: Client) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    job = client.submit(three_items(), priority="bulk", completion_window="24h", not_before=later)
    assert (job.priority, job.not_before, job.completion_window) == ("bulk", later, "1d")

    assert client.prioritise(job.id, "interactive").priority == "interactive"
    paused = client.pause(job.id)
    resumed = client.resume(job.id)
    retried = client.retry(job.id)
    client.cancel(job.id)
    client.delete(job.id)

    assert (paused.paused_at is not None, resumed.paused_at, retried.counts.queued) == (True, None, 3)
    with pytest.raises(NotFoundError):
        client.job(job.id)


def test_an_item_that_is_wrong_is_named_with_its_own_line_whatever_options_are_sent_before_it(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.submit([*three_items(), {"custom_id": "c9", "user_id": "nobody", "prompt": "x"}], defaults={"k": 5})

    assert [(error.line, error.code) for error in caught.value.errors] == [(4, "unknown_user")]


PAIRS = [{"prompt": f"Write about tea {number}.", "chosen": "Yes?", "rejected": "Yes."} for number in range(6)]


def test_feedback_is_given_and_read(client: Client, server: Server) -> None:
    client.profiles.put("ada", principles=["formal", "playful"], learn=True)

    first = client.profiles.give_feedback("ada", pairs=PAIRS)
    again = client.profiles.give_feedback("ada", pairs=PAIRS[:2])
    read = client.profiles.feedback("ada")

    assert client.profiles.get("ada").learn
    assert (first.num_pairs, first.num_new, first.message) == (6, 6, None)
    assert first.fit is not None
    assert first.fit.state == "queued"
    assert (again.num_new, again.num_duplicate) == (0, 2)
    assert (read.num_pairs, read.fit) == (6, first.fit)


def test_feedback_names_its_model_where_several_are_served(client: Client, server: Server) -> None:
    client.profiles.put("ada", principles=["formal", "playful"], learn=True)
    a_model(server.database, "other", a_description("e" * 64))

    with pytest.raises(InvalidRequestError) as refused:
        client.profiles.give_feedback("ada", pairs=PAIRS)
    given = client.profiles.give_feedback("ada", pairs=PAIRS, model="other")

    assert [(error.code, error.pointer) for error in refused.value.errors] == [("model_required", "/model")]
    assert given.num_new == 6


def test_feedback_is_withdrawn(client: Client) -> None:
    client.profiles.put("ada", principles=["formal", "playful"], learn=True)
    client.profiles.give_feedback("ada", pairs=PAIRS)

    client.profiles.withdraw_feedback("ada")

    assert client.profiles.feedback("ada").num_pairs == 0


def test_feedback_without_consent_is_a_conflict(client: Client) -> None:
    client.profiles.put("ada", principles=["formal", "playful"])

    with pytest.raises(ConflictError) as refused:
        client.profiles.give_feedback("ada", pairs=PAIRS)

    assert refused.value.code == "consent_required"


def test_models_are_listed_and_a_job_names_one(client: Client, server: Server) -> None:
    a_model(server.database, "other", a_description("e" * 64))

    models = client.models()
    job = client.submit(three_items(), model="other@eeeeeeee")

    assert [(model.id, model.digest, model.state) for model in models] == [
        ("hub/tiny-model", DIGEST, "ready"),
        ("other", "e" * 64, "ready"),
    ]
    assert (models[0].methods, models[0].max_length) == (("none", "prompt", "pad", "mixture", "contrast"), 512)
    assert (job.model, job.model_digest) == ("other", "e" * 64)


def test_results_are_a_data_frame_with_a_row_for_each_item(client: Client, server: Server) -> None:
    job = client.submit(three_items())
    server.decode(2)
    server.decode(1, error_code="poisoned")

    frame = client.results_frame(job.id)

    assert list(frame["custom_id"]) == ["c0", "c1", "c2"]
    assert list(frame["text"])[:2] == ["HELLO 0", "HELLO 1"]
    assert list(frame["error_code"])[2] == "poisoned"
    assert list(frame["completion_tokens"])[:2] == [4, 4]


def test_a_wait_shows_its_progress_on_standard_error_if_asked(
    client: Client, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    job = client.submit(three_items())
    server.decode(3)

    client.wait(job.id, progress=True)

    assert capsys.readouterr().err == "completed: 3 of 3 items (100 %)\n"
