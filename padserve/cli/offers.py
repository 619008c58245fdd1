"""What a shell may offer where a value is typed: fixed words, and ids that the server knows. Never an error.

It runs at every press of Tab: nothing but the standard library is imported, and the server has a second in all.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from padserve.settings import DEFAULT_HOME
from padserve.stack.home import Home

PATIENCE_SECONDS = 1.0
NUM_OFFERED = 100
OPEN_STATES = ("queued", "running")
ENDED_STATES = ("completed", "cancelled", "expired")
SAFE = re.compile(r"[\w.,+@%:=/-]+")
"""What a shell takes as it is. zsh evaluates what it is offered, and the ids are anybody's."""

Offer = Callable[[str], list[str]]


def words(*fixed: str) -> Offer:
    """An offer of fixed words."""

    def offer(incomplete: str) -> list[str]:
        return _beginning(fixed, incomplete)

    return offer


methods = words("none", "prompt", "pad", "mixture", "contrast")
priorities = words("interactive", "normal", "bulk")
job_states = words(*OPEN_STATES, *ENDED_STATES)
formats = words("ndjson", "json", "csv")
result_states = words("succeeded", "failed", "cancelled")


def jobs(*states: str) -> Offer:
    """An offer of the ids of jobs, the newest first, in these states or in any."""

    def offer(incomplete: str) -> list[str]:
        found = _asked(lambda ask: ask("/v1/jobs", {"limit": NUM_OFFERED})["data"])
        ids = (job["id"] for job in found if not states or job["state"] in states)
        return _beginning(ids, incomplete)

    return offer


def users(incomplete: str) -> list[str]:
    """The ids of users with a profile."""

    def asked(ask: Callable[..., Any]) -> list[dict[str, str]]:
        query = {"limit": NUM_OFFERED, **({"after": incomplete} if incomplete else {})}
        exact = [ask(f"/v1/profiles/{quote(incomplete, safe='')}", {})] if incomplete else []
        return [profile for profile in (*exact, *ask("/v1/profiles", query).get("data", ())) if "user_id" in profile]

    return _beginning((profile["user_id"] for profile in _asked(asked)), incomplete)


def models(incomplete: str) -> list[str]:
    """Names and aliases of models."""
    found = _asked(lambda ask: ask("/v1/models", {})["data"])
    return _beginning((name for model in found for name in (model["id"], *model["aliases"])), incomplete)


def _beginning(values: Iterable[str], incomplete: str) -> list[str]:
    return [value for value in dict.fromkeys(values) if value.startswith(incomplete) and SAFE.fullmatch(value)]


def _asked(read: Callable[[Callable[..., Any]], list[Any]]) -> list[Any]:
    """What `read` makes of the server's answers; nothing where it fails, or takes too long."""
    found: list[Any] = []

    def look() -> None:
        try:
            with _connected(os.environ) as ask:
                found.extend(read(ask))
        except Exception:  # noqa: BLE001 - whatever it is, a prompt is no place for it
            found.clear()

    looking = Thread(target=look, daemon=True)
    looking.start()
    looking.join(PATIENCE_SECONDS)
    return found if not looking.is_alive() else []


@contextmanager
def _connected(environ: Mapping[str, str]) -> Iterator[Callable[..., Any]]:
    """Asks the server that the environment names whole, else that of the stack in this folder."""
    home = Home(Path(environ.get("PADSERVE_HOME") or DEFAULT_HOME).absolute())
    url, key = environ.get("PADSERVE_URL") or home.url, environ.get("PADSERVE_API_KEY")
    if key is None and url == home.url:  # the key of a folder is for its server alone
        key = home.api_key
    from http.client import HTTPConnection, HTTPSConnection

    address = urlsplit(url or "")
    kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=PATIENCE_SECONDS)

    def ask(path: str, query: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
        path = f"{address.path.rstrip('/')}{path}?{urlencode(query)}"
        connection.request("GET", path, headers={"Authorization": f"Bearer {(key or '').strip()}"})
        return json.loads(connection.getresponse().read())

    with closing(connection):
        yield ask
