"""The receiver of the examples, as a process of its own: a job ends, and it prints an event that it has verified."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from api.webhooks.delivering import Deliverer
from api.webhooks.signing import signed_headers
from db.session import Database
from examples.webhook_receiver import TOLERANCE_SECONDS, NotVerifiedError, verify
from tests.webhooks.conftest import a_completed_job, deliveries_of
from tests.webhooks.receiver import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"
SECRET = "whsec_c2VjcmV0"  # noqa: S105 - a test's
BODY = b'{"id":"evt_1","type":"job.completed","data":{}}'
NOW = 1_700_000_000


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


@pytest.fixture
def start(port: int) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(secret: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PADSERVE_WEBHOOK_SECRET": secret}
        started.append(
            subprocess.Popen(
                [sys.executable, str(EXAMPLE), str(port)], env=environment, stdout=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_receiver_without_a_port_or_a_secret_says_how_it_is_started() -> None:
    bare = {name: value for name, value in os.environ.items() if name != "PADSERVE_WEBHOOK_SECRET"}

    for arguments, environment in (([], bare | {"PADSERVE_WEBHOOK_SECRET": SECRET}), (["8080"], bare)):
        command = [sys.executable, str(EXAMPLE), *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("Usage: PADSERVE_WEBHOOK_SECRET=whsec_... python")


def test_a_job_ends_and_the_receiver_prints_a_verified_event(
    database: Database,
    client: TestClient,
    port: int,
    *,
    start: Callable[[str], subprocess.Popen[str]],
    deliver: Callable[[], Deliverer],
) -> None:
    webhook = client.post("/v1/webhooks", json={"url": f"http://127.0.0.1:{port}/"}).json()
    process = start(webhook["secret"])
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Listening on")

    job_id = a_completed_job(database)
    deliver()

    printed = process.stdout.readline()
    assert printed.startswith("job.completed")
    assert str(job_id) in printed
    until(lambda: deliveries_of(database)[0].state == "delivered")
    forged = httpx.post(f"http://127.0.0.1:{port}/", content=BODY, headers=signed_headers("1", NOW, BODY, [SECRET]))
    assert forged.status_code == 401


def test_what_was_signed_just_now_is_verified_with_any_of_the_signatures() -> None:
    headers = signed_headers("evt_1", NOW, BODY, ["whsec_bmV3", SECRET])

    assert verify(headers, BODY, SECRET, NOW + 1.5)["id"] == "evt_1"


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA v2,BBBB"},
    ],
)
def test_what_was_changed_on_the_way_is_not_verified(changes: dict[str, str]) -> None:
    headers = signed_headers("evt_1", NOW, BODY, [SECRET])

    with pytest.raises(NotVerifiedError):
        verify({**headers, **changes}, BODY, SECRET, NOW)
    with pytest.raises(NotVerifiedError):
        verify(headers, BODY + b" ", SECRET, NOW)


@pytest.mark.parametrize("seconds", [TOLERANCE_SECONDS + 1, -TOLERANCE_SECONDS - 1])
def test_what_somebody_has_kept_is_not_verified(seconds: int) -> None:
    headers = signed_headers("evt_1", NOW, BODY, [SECRET])

    with pytest.raises(NotVerifiedError):
        verify(headers, BODY, SECRET, NOW + seconds)
