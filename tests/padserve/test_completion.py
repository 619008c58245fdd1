"""What a shell offers at a press of Tab: commands, flags, words and ids; quickly, and never an error."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from padserve import Client
from padserve.cli import offers
from padserve.cli.app import app
from tests.padserve.running_api import Server

ROOT = Path(__file__).parents[2]
Offer = Callable[[str], list[str]]
HEAVY = ("torch", "transformers", "httpx", "rich", "sqlalchemy", "redis", "celery", "asyncio")


@pytest.fixture
def offered(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Offer:
    """What is offered for the last word of a command line, by the server of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADSERVE_URL", server.url)
    monkeypatch.setenv("PADSERVE_API_KEY", server.api_key)
    monkeypatch.setattr(offers, "PATIENCE_SECONDS", 30.0)  # what a person would not wait for, a busy machine may take

    def offer(line: str) -> list[str]:
        monkeypatch.setenv("_PADSERVE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        capsys.readouterr()
        with pytest.raises(SystemExit):
            app(prog_name="padserve")
        output, errors = capsys.readouterr()
        assert errors == ""
        return output.split()

    return offer


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


def test_commands_flags_and_words_are_offered(offered: Offer) -> None:
    assert {"submit", "try", "jobs"} <= set(offered("padserve "))
    assert offered("padserve jobs wa") == ["watch"]
    assert offered("padserve submit --pri") == ["--priority", "--principle"]
    assert offered("padserve submit --priority ") == ["interactive", "normal", "bulk"]
    assert offered("padserve try x --method c") == ["contrast"]
    assert offered("padserve jobs --state c") == ["completed", "cancelled"]
    assert offered("padserve results x --state ") == ["succeeded", "failed", "cancelled"]


def test_jobs_are_offered_where_they_fit(offered: Offer, client: Client) -> None:
    client.profiles.put("ada")
    items = [{"custom_id": "1", "user_id": "ada", "prompt": "Hi"}]
    ended, running = client.submit(items).id, client.submit(items).id
    client.cancel(ended)

    assert offered("padserve results ") == [running, ended]
    assert offered(f"padserve status {ended[:-1]}") == [ended]
    assert offered("padserve jobs pause ") == offered("padserve cancel ") == [running]
    assert offered("padserve jobs delete ") == [ended]


def test_users_are_offered_from_what_is_typed_on(
    offered: Offer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "NUM_OFFERED", 2)
    for user in ("ada", "bob", "bo", "bobby", "eve@example.com"):
        client.profiles.put(user)

    assert offered("padserve profiles get ") == ["ada", "bo"]
    assert offered("padserve profiles get bo") == ["bo", "bob", "bobby"]
    assert offered("padserve try x --user ev") == ["eve@example.com"]


@pytest.mark.parametrize(
    "user", ["$(touch x)", "`touch x`", 'a"; touch x; "', "\\$(touch x)", "two words", "a'b", "a;b"]
)
def test_an_id_that_a_shell_would_take_for_something_else_is_not_offered(
    offered: Offer, client: Client, user: str
) -> None:
    client.profiles.put(user)
    client.profiles.put("zoë-1")

    assert offered("padserve profiles get ") == ["zoë-1"]


def test_models_are_offered_by_name(offered: Offer) -> None:
    assert offered("padserve submit --model ") == ["hub/tiny-model"]


@pytest.mark.parametrize(
    "settings",
    [
        {"PADSERVE_URL": "http://127.0.0.1:1"},
        {"PADSERVE_URL": "nonsense"},
        {"PADSERVE_URL": "http://[::1"},
        {"PADSERVE_API_KEY": "wrong"},
        {"PADSERVE_API_KEY": "é\r"},
        {"PADSERVE_NONSENSE": "1", "PADSERVE_API_KEY": ""},
        {"PADSERVE_HOME": "/dev/null/x", "PADSERVE_URL": "", "PADSERVE_API_KEY": ""},
    ],
)
@pytest.mark.parametrize("line", ["padserve results ", "padserve try x --user a", "padserve submit --model "])
def test_nothing_is_offered_and_nothing_said_where_the_server_cannot_be_asked(
    offered: Offer, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], line: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert offered(line) == []


def test_the_key_of_a_folder_is_offered_to_its_own_server_alone(
    offered: Offer, client: Client, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client.profiles.put("ada")
    (tmp_path / ".padserve").mkdir()
    (tmp_path / ".padserve" / "api_key").write_text(f"{server.api_key}\n")
    monkeypatch.delenv("PADSERVE_API_KEY")
    (tmp_path / ".padserve" / "url").write_text("http://127.0.0.1:1\n")
    elsewhere = offered("padserve profiles get ")
    (tmp_path / ".padserve" / "url").write_text(f"{server.url}\n")
    monkeypatch.delenv("PADSERVE_URL")

    assert elsewhere == []
    assert offered("padserve profiles get ") == ["ada"]


def test_a_server_that_does_not_answer_is_not_waited_for(offered: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "PATIENCE_SECONDS", 0.2)
    ended = Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ended.wait(30)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("PADSERVE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        begun = time.monotonic()
        assert offered("padserve results ") == []
        assert time.monotonic() - begun < 10
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_shell_that_nobody_knows_is_told_nothing(offered: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PADSERVE_COMPLETE", "complete_nonsense")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    ended = subprocess.run([sys.executable, "-m", "padserve"], env=environment, capture_output=True, check=False)

    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_nothing_heavy_is_imported_to_offer_ids(client: Client, server: Server, tmp_path: Path) -> None:
    client.profiles.put("ada")
    settings = {"PADSERVE_URL": server.url, "PADSERVE_API_KEY": server.api_key, "PYTHONPATH": str(ROOT)}
    shell = {"_PADSERVE_COMPLETE": "complete_bash", "COMP_WORDS": "padserve profiles get a", "COMP_CWORD": "3"}
    program = f"""
import atexit, sys
from padserve.cli.app import app
atexit.register(lambda: print(*(name for name in {HEAVY!r} if name in sys.modules)))
app(prog_name="padserve")
"""

    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings | shell,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == "ada\n\n"
