"""What `PADSERVE_*` says, read once at the entry of a command. Knows every name that any process reads."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from padserve.errors import SettingsError

PREFIX = "PADSERVE_"
TEST_PREFIX = "PADSERVE_TEST_"  # servers for this project's own tests
DEFAULT_HOME = ".padserve"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
MAX_PORT = 65535
DEFAULT_DRAIN_SECONDS = 2.0  # less than a worker's own default: somebody at a keyboard waits for it

# The local stack and the client.
_LOCAL_NAMES = frozenset(
    {"HOME", "HOST", "PORT", "API_KEY", "URL", "MODEL", "POLICY", "REFERENCE", "GUIDE", "CARD", "DEVICE"}
)
# The API and the worker; `padserve up` hands them on as they are.
_SERVICE_NAMES = frozenset(
    {
        *(
            "DATABASE_URL",
            "REDIS_URL",
            "MODEL_NAME",
            "MODEL_ALIASES",
            "DTYPE",
            "NUM_SLOTS",
            "MAX_LENGTH",
            "CACHE_BYTES",
            "TENSOR_PARALLEL",
            "LEASE_SECONDS",
            "MAX_ATTEMPTS",
        ),
        *("ENGINE_START_SECONDS", "ENGINE_SILENCE_SECONDS", "TIME_SLICE_SECONDS", "DRAIN_SECONDS"),
        *(
            "RECONCILE_SECONDS",
            "LOG_FORMAT",
            "LOG_LEVEL",
            "METRICS_HOST",
            "METRICS_PORT",
            "METRICS_TOKEN",
            "FAULT",
            "ROOT_PATH",
            "MAX_BODY_BYTES",
            "MAX_JSON_BYTES",
            "MAX_ITEMS",
            "MAX_PROMPT_CHARACTERS",
            "MAX_IMPORT_PROFILES",
            "UNKNOWN_USERS",
            "WEBHOOK_PRIVATE_ADDRESSES",
        ),
    }
)
KNOWN_NAMES = frozenset(PREFIX + name for name in _LOCAL_NAMES | _SERVICE_NAMES)
# Not for the processes that the stack starts: the key is a secret, and each of them is told where it works.
_NOT_HANDED_ON = frozenset(PREFIX + name for name in ("API_KEY", "HOME", "URL"))


@dataclass(frozen=True, slots=True)
class Settings:
    """One reading of the environment; None where a variable is not set."""

    home: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT  # 0: any free one
    url: str | None = None
    api_key: str | None = None
    database_url: str | None = None
    redis_url: str | None = None
    model: str | None = None
    drain_seconds: float = DEFAULT_DRAIN_SECONDS


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`; raises `SettingsError` for unknown names and unreadable values. Empty is not set."""
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in KNOWN_NAMES:
            raise SettingsError(f"{name} is not a known setting: {_suggestion(name)}")

    def get(name: str) -> str | None:
        return given.get(PREFIX + name)

    return Settings(
        home=Path(get("HOME") or DEFAULT_HOME).absolute(),
        host=get("HOST") or DEFAULT_HOST,
        port=_read_port(get("PORT")),
        url=get("URL"),
        api_key=get("API_KEY"),
        database_url=get("DATABASE_URL"),
        redis_url=get("REDIS_URL"),
        model=get("MODEL"),
        drain_seconds=_read_seconds("DRAIN_SECONDS", get("DRAIN_SECONDS"), DEFAULT_DRAIN_SECONDS),
    )


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process of the stack inherits: everything, without empty settings and without what is not its business."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(PREFIX) or (value and name not in _NOT_HANDED_ON)
    }


def _read_port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise SettingsError(f"{PREFIX}PORT must be a number from 0 to {MAX_PORT}; it is {text!r}.")
    return int(text)


def _read_seconds(name: str, text: str | None, default: float) -> float:
    try:
        seconds = float(text) if text is not None else default
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise SettingsError(f"{PREFIX}{name} must be a number of seconds; it is {text!r}.")
    return seconds


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, sorted(KNOWN_NAMES), n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else f"the known ones are {', '.join(sorted(KNOWN_NAMES))}."
