"""`python -m db`: migrations and keys from the command line."""

from pathlib import Path

import pytest

from db.__main__ import main
from db.queries import keys
from db.session import Database


@pytest.fixture(autouse=True)
def _url(monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", sqlite_url)


def test_a_new_database_is_migrated_and_then_current(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", f"sqlite:///{tmp_path}/new/padserve.db")

    before, _, after = main(["check"]), main(["upgrade"]), main(["check"])

    assert (before, after) == (1, 0)
    assert "python -m db upgrade" in capsys.readouterr().err


def test_a_key_is_printed_once_listed_without_its_text_and_revoked(
    sqlite_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["create-key", "--name", "cli", "--scope", "jobs:read", "--days", "1"])
    text = capsys.readouterr().out.strip()
    with sqlite_database.reading() as session:
        key = keys.caller_of(session, text)
    assert key is not None
    assert key.scopes == ["jobs:read"]
    assert key.expires_at is not None

    main(["list-keys"])
    listed = capsys.readouterr().out
    assert str(key.id) in listed
    assert text not in listed

    assert main(["revoke-key", str(key.id)]) == 0
    assert main(["revoke-key", str(key.id)]) == 1
    with sqlite_database.reading() as session:
        assert keys.caller_of(session, text) is None


def test_a_tenant_is_weighed(sqlite_database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite_database.transaction() as session:
        tenant = keys.create_tenant(session, "acme")

    codes = [main(["set-weight", "--tenant", *given]) for given in (("acme", "2.5"), ("acme", "0"), ("nobody", "2"))]

    assert (tenant.weight, codes) == (1.0, [0, 1, 1])
    assert capsys.readouterr().out == "acme has the weight 2.5.\n"
    with sqlite_database.transaction() as session:
        assert keys.create_tenant(session, "acme").weight == 2.5


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:swordfish@127.0.0.1:1/x", "Cannot reach the database"),
        ("nonsense", "not the URL of a supported database"),
        ("", "not set"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    monkeypatch.setenv("PADSERVE_DATABASE_URL", url)

    assert main(["upgrade"]) == 1

    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert said in told
    assert "swordfish" not in told
