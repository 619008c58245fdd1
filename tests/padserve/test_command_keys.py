"""`padserve keys` and `padserve doctor`: the commands that look beside the API."""

import json
from pathlib import Path

import pytest
from sqlalchemy import delete

from db.registry_models import Model
from padserve.stack import doctor
from padserve.stack.home import Home
from padserve.stack.redis_server import write_configuration
from tests.padserve.command_line import Run
from tests.padserve.running_api import Server


def test_a_key_is_replaced_by_one_that_allows_the_same(
    padserve: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", server.database.url.render_as_string(hide_password=False))
    options = ("--name", "reader", "--scope", "jobs:read", "--tenant", "shop", "--days", "30")
    old = padserve("keys", "create", *options).output.strip()
    prefix = old.split("_")[1]

    kept = padserve("keys", "rotate", prefix, "--grace", "2").output.strip()
    new = json.loads(padserve("keys", "rotate", kept.split("_")[1], "--json").output)

    assert (new["tenant"], new["name"], new["scopes"], new["state"]) == ("shop", "reader", ["jobs:read"], "active")
    codes = []
    for key in (old, kept, new["key"]):
        monkeypatch.setenv("PADSERVE_API_KEY", key)
        codes.append(padserve("jobs").exit_code)
    assert codes == [0, 1, 0]
    assert padserve("keys", "rotate", "nothing").exit_code == 1


def test_the_key_of_this_folders_stack_is_replaced_in_its_file(
    padserve: Run, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", server.database.url.render_as_string(hide_password=False))
    monkeypatch.delenv("PADSERVE_API_KEY")
    file = tmp_path / ".padserve" / "api_key"
    file.parent.mkdir()
    file.write_text(server.api_key)

    new = padserve("keys", "rotate", server.api_key.split("_")[1]).output.strip()

    assert file.read_text().strip() == new
    assert padserve("jobs").exit_code == 0


def test_keys_are_listed_with_their_tenants_in_60_columns(
    padserve: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", server.database.url.render_as_string(hide_password=False))
    padserve("keys", "create", "--tenant", "shop", "--name", "writer")

    listed = padserve("keys", "list").output
    of_shop = json.loads(padserve("keys", "list", "--tenant", "shop", "--json").output)

    assert [line.split()[1] for line in listed.splitlines()] == ["tenant", "default", "shop"]
    assert max(len(line.rstrip()) for line in listed.splitlines()) <= 60
    assert [key["tenant"] for key in of_shop] == ["shop"]


def test_keys_without_a_database_are_one_line(offline: Run) -> None:
    ended = offline("keys", "list")

    assert ended.exit_code == 1
    assert "There is no database in" in ended.errors


def test_keys_are_made_listed_and_revoked_in_the_database(
    padserve: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", server.database.url.render_as_string(hide_password=False))

    made = padserve("keys", "create", "--name", "reader", "--scope", "jobs:read", "--days", "30")
    monkeypatch.setenv("PADSERVE_API_KEY", made.output.strip())
    assert padserve("jobs").exit_code == 0
    assert padserve("profiles", "list").errors.startswith("Error: This API key lacks the scope")

    listed = padserve("keys", "list")
    key_id = next(line.split()[0] for line in listed.output.splitlines() if "reader" in line)
    assert made.output.strip() not in listed.output
    assert padserve("keys", "revoke", key_id).output == f"{key_id} is revoked.\n"
    assert padserve("jobs").exit_code == 1
    assert padserve("keys", "revoke", key_id).exit_code == 1


def test_the_doctor_says_what_is_wrong_and_what_to_do(
    padserve: Run, server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", server.database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("PADSERVE_REDIS_URL", redis_url)

    well = padserve("doctor", "--json")
    with server.database.transaction() as session:
        session.execute(delete(Model))
    monkeypatch.setenv("PADSERVE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PADSERVE_MODEL", "/no/such/model")
    monkeypatch.setattr(doctor, "SAY_DEVICE", "print('CPU')")  # without torch: it has been asked
    ill = padserve("doctor")

    healths = {finding["name"]: finding["health"] for finding in json.loads(well.output)}
    assert healths.keys() == {"disk", "redis", "database", "migrations", "device", "model", "server", "models", "ready"}
    assert (well.exit_code, "wrong" in healths.values()) == (0, False)
    assert ill.exit_code == 1
    assert [line.split()[1] for line in ill.output.splitlines() if line.startswith("wrong")] == [
        *("redis", "model", "models")
    ]


def test_the_doctor_of_an_empty_folder_says_how_to_begin(offline: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SAY_DEVICE", "print('CPU')")

    ended = offline("doctor")

    assert ended.exit_code == 1
    assert "`padserve up` makes it." in ended.output
    assert "No server is running here" in ended.output


def test_the_doctor_does_not_take_what_a_killed_stack_left_for_a_redis_that_runs(
    offline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SAY_DEVICE", "print('CPU')")
    home = Home(Path.cwd() / ".padserve")
    with home.held():
        home.url_file.write_text("http://127.0.0.1:1\n")
        write_configuration(home.redis, 1)

    ended = offline("doctor")

    assert "`padserve up` starts it." in ended.output
    assert "it runs" not in ended.output


def test_the_doctor_makes_neither_the_database_nor_the_folder_that_it_is_pointed_at(
    offline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SAY_DEVICE", "print('CPU')")
    monkeypatch.setenv("PADSERVE_DATABASE_URL", "sqlite:///folder/absent.db")
    monkeypatch.setenv("PADSERVE_REDIS_URL", "redis://127.0.0.1:1/0")

    ended = offline("doctor")

    assert list(Path.cwd().iterdir()) == []
    assert "folder/absent.db is not there." in ended.output
    assert ended.exit_code == 1
