"""Logs of every process: one JSON object a line on standard error, ours and the libraries' alike; at a terminal, text.

An exception is logged as its type and its places, never as its message: database errors quote the values they were
given, and those are prompts and profiles. That is why logging lives beside the database.
"""

import logging
import os
import sys
import traceback

import structlog
from structlog.typing import EventDict, WrappedLogger

MAX_FRAMES = 8
LEVEL_VARIABLE = "PADSERVE_LOG_LEVEL"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


FORMAT_VARIABLE = "PADSERVE_LOG_FORMAT"
JSON, CONSOLE = "json", "console"

_process: dict[str, str] = {}
"""What every line of this process says."""


class LogLevelError(ValueError):
    """PADSERVE_LOG_LEVEL or PADSERVE_LOG_FORMAT is none of its values; the message is a sentence."""


def configure_logs() -> None:
    """Send everything through one formatter; libraries speak from WARNING up, we from `PADSERVE_LOG_LEVEL` or INFO.

    `PADSERVE_LOG_FORMAT` is `json` or `console`; where it is not set, `console` if standard error is a terminal. Logs
    work afterwards even where it raises `LogLevelError`.
    """
    named = os.environ.get(LEVEL_VARIABLE, "").lower() or "info"
    form = os.environ.get(FORMAT_VARIABLE, "").lower() or (CONSOLE if sys.stderr.isatty() else JSON)
    _configure(LEVELS.get(named, logging.INFO), in_json=form != CONSOLE)
    if named not in LEVELS:
        raise LogLevelError(f"{LEVEL_VARIABLE} must be one of {', '.join(LEVELS)}; it is {named!r}.")
    if form not in {JSON, CONSOLE}:
        raise LogLevelError(f"{FORMAT_VARIABLE} must be {JSON} or {CONSOLE}; it is {form!r}.")


def identify(**fields: str) -> None:
    """Have every line of this process, whichever thread writes it, say who speaks."""
    _process.update(fields)


def _name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in _process.items():
        event.setdefault(name, value)
    return event


def _configure(level: int, *, in_json: bool) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _name_process,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                without_exception_message,
                structlog.processors.JSONRenderer() if in_json else structlog.dev.ConsoleRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for ours in ("api", "db", "telemetry", "worker"):
        logging.getLogger(ours).setLevel(level)


def without_exception_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that replaces an exception by its type and its places: messages may quote values."""
    given = event.pop("exc_info", None)
    if given is True:  # the one that is being handled: what `log.exception` says
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["error"], event["where"] = type(error).__name__, places_of(error)
    return event


def places_of(error: BaseException) -> list[str]:
    """File, line and function of each frame of a traceback, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
