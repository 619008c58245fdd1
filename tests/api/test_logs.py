"""Logs say what happened, in JSON, and hold no key, no profile text, no user id and no prompt."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from api.http.dependencies import Scope
from telemetry.logs import configure_logs
from tests.api.conftest import Api

TEXT = "she-dreams-of-whales"


@contextmanager
def json_logs() -> Iterator[None]:
    """The logs of `python -m api`, until the block ends."""
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()  # pytest's own, which would be closed
    configure_logs()
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_no_log_line_holds_what_a_client_sent(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise IntegrityError(f"INSERT {TEXT}", {"body": TEXT}, Exception(TEXT))

    key = api.key(Scope.ADMIN)
    client = api.anonymous_client(headers={"Authorization": f"Bearer {key}"})
    ndjson = {"Content-Type": "application/x-ndjson"}
    path = f"/v1/profiles/{TEXT}"

    with json_logs():
        client.put(path, json={"principles": [TEXT], "attributes": {"name": TEXT}})
        client.put(path, json={"principles": TEXT, TEXT: 1})
        client.put(path, content=TEXT, headers={"Content-Type": "application/json"})
        client.post("/v1/profiles:import", content=json.dumps({"user_id": TEXT, "tags": [TEXT]}), headers=ndjson)
        client.post("/v1/profiles:import", content=TEXT, headers=ndjson)
        client.get("/v1/profiles", params={"tag": TEXT}, headers={"Authorization": f"Bearer {TEXT}"})
        event.listen(api.database.engine, "before_cursor_execute", fail)
        assert client.put(path, json={"principles": [TEXT]}).status_code == 500
        logging.getLogger("some.library").error("failed", exc_info=RuntimeError(TEXT))

    written = capsys.readouterr()
    lines = [json.loads(line) for line in written.err.splitlines()]

    assert [line["event"] for line in lines].count("request") == 7
    assert {line.get("error") for line in lines} >= {"IntegrityError", "RuntimeError"}
    assert TEXT not in written.err + written.out
    assert key not in written.err + written.out


def test_a_request_is_one_line_with_its_route_status_and_id(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    with json_logs():
        answer = api.client().get("/v1/profiles/ada")

    line = json.loads(capsys.readouterr().err)

    assert (line["event"], line["route"], line["status"]) == ("request", "/v1/profiles/{user_id}", 404)
    assert line["request_id"] == answer.headers["x-request-id"]
