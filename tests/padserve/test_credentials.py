"""Which server and key a client takes, and that no key is shown or goes where it does not belong."""

from pathlib import Path

import httpx
import pytest

from padserve import Client, NotFoundError, SettingsError, SourceError, UnreachableError
from padserve.client.discovery import find_server
from tests.padserve.running_api import Server
from tests.padserve.scripted_server import Script, a_job

SECRET = "pad_abc_very-secret"  # noqa: S105 - nobody's


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a stack in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "API_KEY", "HOME"):
        monkeypatch.delenv(f"PADSERVE_{name}", raising=False)
    (tmp_path / ".padserve").mkdir()
    (tmp_path / ".padserve" / "url").write_text("http://127.0.0.1:8123\n")
    (tmp_path / ".padserve" / "api_key").write_text(f"{SECRET}\n")
    return tmp_path / ".padserve"


def test_a_client_without_arguments_finds_the_stack_of_this_folder(folder: Path, server: Server) -> None:
    (folder / "url").write_text(server.url)
    (folder / "api_key").write_text(server.api_key)

    with Client() as client, pytest.raises(NotFoundError):
        client.profiles.get("nobody")


def test_a_folder_elsewhere_is_named_by_the_environment(folder: Path) -> None:
    moved = folder.rename(folder.parent / "else where")

    assert find_server({"PADSERVE_HOME": str(moved)}) == ("http://127.0.0.1:8123", SECRET)


def test_what_is_given_goes_before_the_environment_and_that_before_the_folder(folder: Path) -> None:
    environ = {"PADSERVE_URL": "http://a.test", "PADSERVE_API_KEY": "k"}

    assert find_server(environ, "http://b.test", "l") == ("http://b.test", "l")
    assert find_server(environ) == ("http://a.test", "k")
    assert find_server({}) == ("http://127.0.0.1:8123", SECRET)


def test_the_key_of_a_local_stack_is_not_sent_to_another_machine(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"not for https://elsewhere\.test"):
        find_server({"PADSERVE_URL": "https://elsewhere.test"})

    assert find_server({"PADSERVE_URL": "http://localhost:9"}) == ("http://localhost:9", SECRET)


@pytest.mark.parametrize("key", [f"{SECRET}\r\n", f" {SECRET}"])
def test_space_around_a_key_is_not_of_it(key: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return a_job()

    Client("http://padserve.test", key, http=httpx.MockTransport(answer)).job("0190")

    assert seen == [f"Bearer {SECRET}"]


@pytest.mark.parametrize("key", [f"{SECRET}\rx", f"{SECRET}\u00fc", f"{SECRET}\n{SECRET}"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(SettingsError, match="The API key cannot be sent: its character 20") as refused:
        Client("http://padserve.test", key)

    assert "secret" not in str(refused.value)


def test_headers_are_not_quoted_from_errors_below() -> None:
    script = Script([httpx.LocalProtocolError(f"Illegal header value b'Bearer {SECRET}'")])

    with pytest.raises(UnreachableError) as refused:
        script.client(max_retries=0).job("0190")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["padserve.test", "ftp://padserve.test", "http://", "http://a:port"])
def test_an_address_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(SettingsError, match="is not the address of a server"):
        Client(url, "key")


def test_numbers_that_are_none_do_not_leave_this_side() -> None:
    with pytest.raises(SourceError, match="not JSON"):
        Script([]).client().profiles.put("ada", strength=float("nan"))
