"""How much the processes say: of an exception its type and place, of attempts only when asked for."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from db.queries.history import Said, say
from telemetry.logs import LogLevelError, configure_logs, identify


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root, level = logging.getLogger(), logging.getLogger().level
    handlers, ours = root.handlers[:], [logging.getLogger(name) for name in ("api", "db", "worker")]
    levels = [one.level for one in ours]
    root.handlers.clear()  # pytest's own, which would be closed
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for one, before in zip(ours, levels, strict=True):
        one.setLevel(before)
    structlog.reset_defaults()


@pytest.mark.parametrize(("level", "num_lines"), [("debug", 1), ("DEBUG", 1), ("info", 0), ("", 0)])
def test_attempts_are_said_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], level: str, num_lines: int
) -> None:
    monkeypatch.setenv("PADSERVE_LOG_LEVEL", level)
    configure_logs()

    say(Said.EXPIRED, [(7, 1), (8, 2)])

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["said"], line["attempts"]) for line in lines] == [("expired", [[7, 1], [8, 2]])] * num_lines


def test_attempts_are_not_even_listed_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PADSERVE_LOG_LEVEL", raising=False)
    configure_logs()
    attempts = iter([(7, 1)])

    say(Said.EXPIRED, attempts)

    assert next(attempts) == (7, 1)


def test_a_level_that_does_not_exist_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADSERVE_LOG_LEVEL", "loud")

    with pytest.raises(LogLevelError, match=r"^PADSERVE_LOG_LEVEL must be one of debug, info, .*; it is 'loud'\.$"):
        configure_logs()


def test_an_exception_is_logged_by_type_and_place_and_without_its_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PADSERVE_LOG_LEVEL", raising=False)
    configure_logs()

    try:
        int("a prompt")
    except ValueError:
        structlog.get_logger("worker.pipeline.turns").exception("turn_failed")

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["error"]) == ("turn_failed", "ValueError")
    assert "test_logs_say.py" in line["where"][-1]
    assert "a prompt" not in str(line)


@pytest.mark.parametrize(
    ("form", "at_terminal", "is_json"), [("", False, True), ("", True, False), ("json", True, True)]
)
def test_lines_are_json_but_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str, *, at_terminal: bool, is_json: bool
) -> None:
    monkeypatch.setenv("PADSERVE_LOG_FORMAT", form)
    monkeypatch.setattr("sys.stderr.isatty", lambda: at_terminal)
    configure_logs()

    structlog.get_logger("worker.pipeline.turns").info("turned")

    assert capsys.readouterr().err.startswith('{"') is is_json


def test_every_line_says_which_process_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("telemetry.logs._process", {})
    configure_logs()

    identify(worker="an-incarnation")
    structlog.get_logger("worker.pipeline.turns").info("turned")
    logging.getLogger("celery.worker").warning("said")

    assert [json.loads(line)["worker"] for line in capsys.readouterr().err.splitlines()] == ["an-incarnation"] * 2


def test_a_format_that_does_not_exist_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADSERVE_LOG_FORMAT", "xml")

    with pytest.raises(LogLevelError, match=r"^PADSERVE_LOG_FORMAT must be json or console; it is 'xml'\.$"):
        configure_logs()
