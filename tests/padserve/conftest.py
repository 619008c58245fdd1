"""Shared by the tests of client and command line: a running API, and command lines as people type them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main

from db.session import Database
from padserve.cli.app import app
from tests.padserve.command_line import Ended, Run
from tests.padserve.running_api import Server, running_api

commands_of = cache(typer.main.get_command)
"""Typer builds all of them for each command line, which takes longer than most of what these do."""


@pytest.fixture
def server(sqlite_database: Database, redis_url: str) -> Iterator[Server]:
    with running_api(sqlite_database, redis_url) as server:
        yield server


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in an empty folder where no server is named."""
    monkeypatch.setattr(typer.main, "get_command", commands_of)
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "API_KEY", "HOME", "DATABASE_URL", "MODEL"):
        monkeypatch.delenv(f"PADSERVE_{name}", raising=False)

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(arguments, prog_name="padserve")
        output, errors = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, output, errors)

    return run


@pytest.fixture
def padserve(offline: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line against a server that knows the user ada."""
    monkeypatch.setenv("PADSERVE_URL", server.url)
    monkeypatch.setenv("PADSERVE_API_KEY", server.api_key)
    offline("profiles", "set", "ada", "-p", "formal", "--attribute", "first_name=Ada", "--tag", "beta")
    return offline
