"""One prompt under several settings side by side, of which nothing is kept: `client.compare` and `padserve try`."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete

from db.registry_models import Worker
from domain.sampling import Sampling
from padserve import (
    AsyncClient,
    Client,
    ComparisonError,
    InvalidRequestError,
    Job,
    JobTimeoutError,
)
from tests.api.job_requests import items_of_job, preference_of
from tests.padserve.command_line import Run
from tests.padserve.decoding_server import decoding
from tests.padserve.running_api import Server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        client.profiles.put("ada", principles=["formal"])
        yield client


def seen_of(server: Server, kept: list[tuple[object, ...]]) -> Callable[[Job], None]:
    """Keeps how each item is decoded, and decodes it."""

    def look(job: Job) -> None:
        if job.counts.queued:
            for item in items_of_job(server.database, uuid.UUID(job.id)):
                preference = preference_of(server.database, item)
                kept.append((preference["method"], preference["strength"], Sampling.from_body(item.sampling).seed))
            server.decode(job.counts.queued)

    return look


def test_each_setting_is_tried_with_the_same_seed_and_told_beside_its_text(client: Client, server: Server) -> None:
    kept: list[tuple[object, ...]] = []

    trials = client.compare(
        "Hi",
        "ada",
        methods=["pad", "contrast"],
        strengths=[0.5, 2, 0.5],
        defaults={"seed": 7, "max_tokens": 9},
        on_progress=seen_of(server, kept),
    )

    expected = [("pad", 0.5), ("pad", 2), ("contrast", 0.5), ("contrast", 2)]
    assert [(trial.method, trial.strength) for trial in trials] == expected
    assert [trial.result.text for trial in trials] == ["HI"] * 4
    assert kept == [(method, strength, 7) for method, strength in expected]


def test_without_a_setting_the_profile_is_compared_with_no_guidance(client: Client, server: Server) -> None:
    with decoding(server):
        trials = client.compare("Hi", "ada")

    assert [trial.method for trial in trials] == ["none", None]


def test_the_job_goes_first_and_is_gone_with_its_texts(client: Client, server: Server) -> None:
    seen: list[Job] = []

    with decoding(server):
        client.compare("Hi", "ada", on_progress=seen.append)

    assert {job.priority for job in seen} == {"interactive"}
    assert list(client.jobs()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_job_is_gone_where_the_wait_is_interrupted(client: Client, error: type[BaseException]) -> None:
    def interrupt(_job: Job) -> None:
        raise error

    with pytest.raises(error):
        client.compare("Hi", "ada", on_progress=interrupt)

    assert list(client.jobs()) == []


def test_the_job_is_gone_where_its_submission_is_interrupted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, calls = client.submit, []

    def interrupted(*args: object, **kwargs: object) -> Job:
        job = submit(*args, **kwargs)  # type: ignore[arg-type]
        calls.append(job.id)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return job

    monkeypatch.setattr(client, "submit", interrupted)

    with pytest.raises(KeyboardInterrupt):
        client.compare("Hi", "ada")

    assert len(set(calls)) == 1
    assert list(client.jobs()) == []


def test_nobody_waits_for_ever(client: Client) -> None:
    with pytest.raises(JobTimeoutError, match="0 of 2 items have"):
        client.compare("Hi", "ada", timeout_seconds=0)

    assert list(client.jobs()) == []


def test_without_a_worker_it_is_said_at_once(client: Client, server: Server) -> None:
    with server.database.transaction() as session:
        session.execute(delete(Worker))

    with pytest.raises(ComparisonError, match=r"No worker is running\. `padserve models` lists what is served"):
        client.compare("Hi", "ada")

    assert list(client.jobs()) == []


def test_a_job_that_somebody_pauses_is_not_waited_for(client: Client) -> None:
    def pause(job: Job) -> None:
        client.pause(job.id)

    with pytest.raises(ComparisonError, match="was paused meanwhile"):
        client.compare("Hi", "ada", on_progress=pause)

    assert list(client.jobs()) == []


def test_a_user_without_a_profile_is_told_once_with_what_to_do(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        client.compare("Hi", "nobody", strengths=[0, 1, 2])

    assert str(refused.value).startswith("There is no profile for user nobody: store one first")
    assert (refused.value.code, refused.value.errors) == ("unknown_user", ())


def test_what_is_wrong_with_every_item_is_told_once(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        client.compare(" ", "ada", strengths=[0, 1, -2])

    assert [str(error).split(":")[0] for error in refused.value.errors] == ["/prompt", "/strength"]


def test_the_asynchronous_client_compares_alike_and_leaves_nothing_when_it_is_cancelled(server: Server) -> None:
    async def main() -> None:
        async with AsyncClient(server.url, server.api_key, max_retries=0) as client:
            await client.profiles.put("ada")
            with decoding(server):
                trials = await client.compare("Hi", "ada", strengths=[0, 1])
            assert [trial.result.text for trial in trials] == ["HI", "HI"]
            begun = asyncio.Event()
            waiting = asyncio.create_task(client.compare("Hi", "ada", on_progress=lambda _job: begun.set()))
            await begun.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert [job async for job in client.jobs()] == []

    asyncio.run(main())


def test_texts_stand_one_below_the_other_with_what_was_tried(padserve: Run, server: Server) -> None:
    with decoding(server):
        tried = padserve("try", "Hi there", "--user", "ada", "--strength", "0,0.5", "--method", "contrast")

    assert (tried.exit_code, tried.errors) == (0, "")
    assert tried.output == "contrast, strength 0:\n  HI THERE\n\ncontrast, strength 0.5:\n  HI THERE\n\n"
    assert padserve("jobs").errors == "There are no jobs.\n"


def test_a_long_text_fits_a_narrow_terminal(padserve: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")

    with decoding(server):
        tried = padserve("try", "many words " * 20, "--user", "ada", "--strength", "0.5", "--max-kl", "0.25")

    lines = [line.rstrip() for line in tried.output.splitlines()]
    assert lines[0] == "strength 0.5, max-kl 0.25:"
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines[1:]).split()) == ("MANY WORDS " * 20).strip()


def test_trials_are_json_if_asked(padserve: Run, server: Server) -> None:
    with decoding(server):
        tried = padserve("try", "Hi", "--user", "ada", "--max-kl", "0.5", "--json")

    (trial,) = json.loads(tried.output)
    assert (trial["max_kl"], trial["method"], trial["result"]["text"]) == (0.5, None, "HI")


@pytest.mark.parametrize("numbers", ["0,x", "nan", "1;2"])
def test_what_is_no_number_is_told_by_its_flag(padserve: Run, numbers: str) -> None:
    refused = padserve("try", "Hi", "--user", "ada", "--strength", numbers)

    assert refused.exit_code == 2
    assert "--strength" in refused.errors
    assert "is not a number; write them as in 0,0.5,1" in refused.errors


def test_a_wrong_setting_and_an_unknown_user_are_lines(padserve: Run) -> None:
    wrong = padserve("try", "Hi", "--user", "ada", "--strength", "1,-1", "--max-tokens", "0")
    unknown = padserve("try", "Hi", "--user", "nobody")

    assert sorted(line.split(":")[0] for line in wrong.errors.splitlines()[1:]) == ["  --max-tokens", "  --strength"]
    assert (unknown.exit_code, unknown.errors.count("\n")) == (1, 1)
    assert unknown.errors.startswith("Error: There is no profile for user nobody")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(
    padserve: Run, server: Server, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def kill(*_args: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr("padserve.client.comparison.check_served", kill)

    tried = padserve("try", "Hi", "--user", "ada")

    assert (tried.exit_code, tried.errors) == (130, "Stopped: nothing of it is kept.\n")
    assert padserve("jobs").errors == "There are no jobs.\n"
