"""Every command that prints answers in JSON if asked; and what it answers then."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from padserve.cli.app import app
from tests.padserve.command_line import Run
from tests.padserve.running_api import Server

HANDED_ON = {"train", "eval", "calibrate"}  # programs of their own, with options of their own


def leaves(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command that does something, under the words that name it."""
    nested = getattr(command, "commands", {})
    if not nested or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, each in nested.items():
        yield from leaves(each, (*path, name))


COMMANDS = {path: command for path, command in leaves(typer.main.get_command(app)) if path and path[0] not in HANDED_ON}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_json(path: tuple[str, ...]) -> None:
    flags = {flag for each in COMMANDS[path].params for flag in each.opts}  # type: ignore[attr-defined]

    assert "--json" in flags


def test_the_walk_finds_commands_of_groups_too() -> None:
    assert {("up",), ("jobs",), ("jobs", "delete"), ("keys", "revoke"), ("profiles", "feedback")} <= COMMANDS.keys()


def test_what_is_removed_is_named_in_json(padserve: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", server.database.url.render_as_string(hide_password=False))
    job_id = padserve("campaign", "Hi", "--all").output.strip()
    padserve("cancel", job_id)
    prefix = json.loads(padserve("keys", "create", "--json").output)["prefix"]

    job = json.loads(padserve("jobs", "delete", job_id, "--json").output)
    key = json.loads(padserve("keys", "revoke", prefix, "--json").output)
    profile = json.loads(padserve("profiles", "delete", "ada", "--json").output)

    assert job == {"id": job_id, "deleted": True}
    assert (key["prefix"], key["state"]) == (prefix, "revoked")
    assert profile == {"user_id": "ada", "deleted": True}


def test_what_was_forgotten_is_answered_with_what_is_left(padserve: Run) -> None:
    padserve("profiles", "set", "ada", "-p", "formal", "-p", "terse", "--learn")
    Path("pairs.ndjson").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    padserve("profiles", "feedback", "ada", "pairs.ndjson")

    withdrawn = padserve("profiles", "feedback", "ada", "--withdraw", "--json")

    assert json.loads(withdrawn.output)["num_pairs"] == 0
