"""`python -m api` starts, or says in one line why it cannot."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers import free_port
from tests.system.forked import API, ForkedProcess

ROOT = Path(__file__).parents[2]


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PADSERVE_")}
    return kept | {f"PADSERVE_{name.upper()}": value for name, value in settings.items()}


def run(**settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_port_in_use_is_one_line_and_exit_code_1(sqlite_url: str, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(database_url=sqlite_url, redis_url=redis_url, port=str(port))

    assert ended.returncode == 1
    where = f"127.0.0.1 port {port} (PADSERVE_HOST, PADSERVE_PORT)"
    assert ended.stderr == f"padserve api: Cannot listen on {where}: it is in use.\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"database_url": "postgresql://ada:secret@127.0.0.1:1/x"},
            "Cannot reach the database at postgresql+psycopg://ada:***@127.0.0.1:1/x (PADSERVE_DATABASE_URL): ",
        ),
        ({"database_url": "sqlite://"}, "PADSERVE_DATABASE_URL names a database in memory"),
        ({"redis_url": "redis://:secret@127.0.0.1:1/0"}, "Cannot reach Redis at 127.0.0.1:1/0 (PADSERVE_REDIS_URL): "),
        ({"redis_url": "unix:///tmp/redis.sock"}, "(PADSERVE_REDIS_URL): write redis:// or rediss://."),
        ({"host": "tea..garden"}, "(PADSERVE_HOST, PADSERVE_PORT): that is no address."),
        ({"database_url": "mysql://ada:secret@127.0.0.1/x"}, "PADSERVE_DATABASE_URL is not the URL of a supported"),
        ({"port": "many"}, "PADSERVE_PORT must be a whole number; it is 'many'."),
        ({"redis_url": ""}, "PADSERVE_REDIS_URL must be set."),
        ({"metrics_token": "secret"}, "PADSERVE_METRICS_TOKEN must have at least 16 characters."),
        ({"metrics_token": "a secret of two lines\n"}, "PADSERVE_METRICS_TOKEN must be letters, digits and signs of"),
    ],
)
def test_what_cannot_be_reached_or_read_is_one_line_without_secrets_and_exit_code_1(
    sqlite_url: str, redis_url: str, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    everything, log = {"database_url": sqlite_url, "redis_url": redis_url, **settings}, tmp_path / "api.log"

    exit_code = ForkedProcess(API, [], environment(**everything), log).wait(60)

    assert exit_code == 1
    assert log.read_text().count("\n") == 1
    assert said in log.read_text()
    assert "secret" not in log.read_text()


def test_it_serves_until_it_is_told_to_end(sqlite_url: str, redis_url: str) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=environment(database_url=sqlite_url, redis_url=redis_url, port=str(port)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    listening = json.loads(process.stderr.readline())

    transport = httpx.HTTPTransport(retries=5)
    with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
        alive = client.get("/healthz")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)

    assert (listening["event"], listening["port"]) == ("listening", port)
    assert alive.status_code == 200
    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["request"]


def test_importing_the_api_does_not_import_torch() -> None:
    program = "import api.__main__, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
