"""`padserve up` as it is, with a tiny model: what people get who have nothing else installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from padserve import Client
from tests.padserve.local_stack import REAL, SECONDS, LocalStack, all_gone
from tests.system.processes import wait_until
from tests.tiny_model import write_tiny_model, write_tiny_policy

NUM_ITEMS = 96
METHODS = ("none", "prompt", "pad")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    write_tiny_policy(folder / "policy", folder / "tiny")
    return folder / "tiny", folder / "policy"


@pytest.fixture
def stacks(models: tuple[Path, Path], tmp_path: Path) -> Iterator[list[LocalStack]]:
    """Two stacks on the same folder: start the second by leaving the first."""
    started: list[LocalStack] = []
    yield started
    for stack in started:
        if stack.process.poll() is None:
            stack.process.terminate()
        stack.process.wait(SECONDS)


def start(folder: Path, models: tuple[Path, Path], stacks: list[LocalStack]) -> LocalStack:
    model, policy = models
    stack = LocalStack(
        folder / "home", REAL, MODEL=str(model), POLICY=str(policy), DEVICE="cpu", LEASE_SECONDS="3", NUM_SLOTS="8"
    )
    stacks.append(stack)
    return stack


def client_of(stack: LocalStack) -> Client:
    url, key = ((stack.home / name).read_text().strip() for name in ("url", "api_key"))
    return Client(url, key)


def items() -> Iterator[dict[str, object]]:
    for number in range(NUM_ITEMS):
        method = METHODS[number % len(METHODS)]
        yield {"custom_id": str(number), "user_id": "ada", "prompt": f"thing {number}", "method": method}


@pytest.mark.timeout(600)
def test_a_job_is_finished_by_the_next_stack_when_the_first_is_killed_in_the_middle(
    models: tuple[Path, Path], stacks: list[LocalStack], tmp_path: Path
) -> None:
    first = start(tmp_path, models, stacks)
    first.read_until("Ready")
    with client_of(first) as client:
        client.profiles.put("ada", principles=["formal"])
        job = client.submit(items(), defaults={"max_tokens": 60})
        wait_until(lambda: client.job(job.id).counts.ended > 0, SECONDS, "an item has ended")
        assert not client.job(job.id).has_ended

    processes = first.children()
    first.process.kill()
    assert all_gone(processes)

    second = start(tmp_path, models, stacks)
    second.read_until("Ready")
    with client_of(second) as client:
        ended = client.wait(job.id, timeout_seconds=300)
        results = list(client.results(job.id))

    assert (ended.state, ended.counts.succeeded) == ("completed", NUM_ITEMS)
    assert [result.custom_id for result in results] == [str(number) for number in range(NUM_ITEMS)]
    second.process.terminate()
    exit_code, output = second.end()
    assert exit_code == 0
    assert output.endswith("Stopped.\n")


def test_a_model_that_is_not_there_is_named_and_the_api_stays_up_to_say_so(
    tmp_path: Path, stacks: list[LocalStack]
) -> None:
    missing = tmp_path / "no-such-model"

    stack = start(tmp_path, (missing, missing), stacks)

    assert "would again" in stack.read_until(str(missing))
