"""What a stack needs, looked at one by one: whether it is there, and what to do where it is not.

Whether jobs are decoded now is said by the checks behind `/readyz`, in its words: by the server that runs, or by the
same checks made from here where none answers.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

import httpx
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from db import schema
from db.session import Database, DatabaseUnreachableError
from padserve.client.client import Client
from padserve.client.discovery import server_url
from padserve.errors import PadserveError, SettingsError
from padserve.settings import Settings
from padserve.stack import database, redis_server
from padserve.stack.home import Home
from telemetry.readiness import Readiness, Round

GIBIBYTE = 2**30
LEAST_BYTES = GIBIBYTE // 2
FEW_BYTES = 5 * GIBIBYTE
DEVICE_SECONDS = 120.0
READY_SECONDS = 10.0
SAY_DEVICE = (
    "import torch; print(f'{torch.cuda.device_count()} GPU, {torch.cuda.get_device_name(0)}' "
    "if torch.cuda.is_available() else 'CPU')"
)


class Health(StrEnum):
    """What a finding says of the thing that was looked at."""

    OK = "ok"
    NOTE = "note"
    """It works, with what is said."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing, how it is, and what to do about it."""

    name: str
    health: Health
    detail: str
    advice: str = ""


def examine(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at everything a stack needs, one finding after the other. Changes nothing and raises nothing."""
    home = Home(settings.home)
    yield _disk(home)
    yield _redis(settings, home)
    yield from _database(settings, home)
    yield _device(environ)
    yield _model(settings)
    yield from _server()
    yield from _ready(settings, home)


def _disk(home: Home) -> Finding:
    place = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    said = f"{free / GIBIBYTE:.1f} GiB free for {home.path}"
    if free < LEAST_BYTES:
        return Finding("disk", Health.WRONG, said, "Make room, or set PADSERVE_HOME to another disk.")
    if free < FEW_BYTES:
        return Finding("disk", Health.NOTE, said, "Texts and logs grow: delete old jobs with `padserve jobs delete`.")
    return Finding("disk", Health.OK, said)


def _redis(settings: Settings, home: Home) -> Finding:
    if settings.redis_url is not None:
        try:
            if redis_server.answers(settings.redis_url):
                return Finding("redis", Health.OK, "PADSERVE_REDIS_URL answers.")
        except ValueError:
            return Finding("redis", Health.WRONG, "PADSERVE_REDIS_URL is no URL.", "Write redis://HOST:PORT/0.")
        advice = "Start it, put the URL right, or unset it: `padserve up` brings its own."
        return Finding("redis", Health.WRONG, "PADSERVE_REDIS_URL does not answer.", advice)
    try:
        program = redis_server.find_redis_server()
    except PadserveError as error:
        return Finding("redis", Health.WRONG, "There is none.", str(error))
    own = redis_server.configured_url(home.redis)  # of a stack that may have been killed
    running = "it runs" if own and redis_server.answers(own) else "`padserve up` starts it"
    return Finding("redis", Health.OK, f"{program}: {running}.")


def _database(settings: Settings, home: Home) -> Iterator[Finding]:
    if settings.database_url is None and not home.database.exists():
        yield Finding("database", Health.NOTE, f"None in {home.path} yet.", "`padserve up` makes it.")
        return
    url = settings.database_url or home.database_url
    if absent := database.missing_file(url):
        advice = "`python -m db upgrade` makes it, or put PADSERVE_DATABASE_URL right."
        yield Finding("database", Health.WRONG, f"{absent} is not there.", advice)
        return
    try:
        with database.opened(url) as opened:
            yield Finding("database", Health.OK, opened.url.render_as_string(hide_password=True))
            with opened.engine.connect() as connection:
                is_current = schema.is_current(connection)
    except PadserveError as error:
        yield Finding("database", Health.WRONG, str(error), "Start the database, or put PADSERVE_DATABASE_URL right.")
    except (SQLAlchemyError, ValueError) as error:
        detail = f"The schema cannot be read ({type(error).__name__})."
        yield Finding("migrations", Health.WRONG, detail, "Is it padserve's database?")
    else:
        if is_current:
            yield Finding("migrations", Health.OK, "All are applied.")
        else:
            advice = "`python -m db upgrade`; `padserve up` does it, too."
            yield Finding("migrations", Health.WRONG, "Some are missing.", advice)


def _device(environ: Mapping[str, str]) -> Finding:
    if find_spec("torch") is None:
        return Finding("device", Health.WRONG, "torch is not installed.", 'pip install "padserve[worker]"')
    command = [sys.executable, "-P", "-c", SAY_DEVICE]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=DEVICE_SECONDS, check=False)  # noqa: S603 - our own
    except subprocess.TimeoutExpired:
        return Finding("device", Health.WRONG, "torch does not answer.", "Is the GPU driver well? Try nvidia-smi.")
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no reason"])[-1]
        return Finding("device", Health.WRONG, f"torch fails: {reason}", "Install torch anew.")
    return device_finding(ended.stdout.strip(), environ)


def device_finding(found: str, environ: Mapping[str, str]) -> Finding:
    """Whether torch has the devices that are asked for; `found` is "CPU", or how many GPUs and which."""
    wanted, number = environ.get("PADSERVE_DEVICE", ""), environ.get("PADSERVE_TENSOR_PARALLEL", "")
    if wanted.startswith("cuda") and found == "CPU":
        advice = "Unset it, or install the driver and a torch for it."
        return Finding("device", Health.WRONG, f"PADSERVE_DEVICE is {wanted}, and torch sees no GPU.", advice)
    if found == "CPU":
        return Finding("device", Health.NOTE, "No GPU: models run on the CPU.", "Small models do well there.")
    if number.isdigit() and int(number) > int(found.split(maxsplit=1)[0]):
        detail = f"PADSERVE_TENSOR_PARALLEL is {number}, and torch sees {found}."
        return Finding("device", Health.WRONG, detail, "Lower it, or look for the others with nvidia-smi.")
    return Finding("device", Health.OK, found)


def _model(settings: Settings) -> Finding:
    if settings.model is None:
        advice = "The next `padserve up` needs it, or `--model`; `make up` names the demo's."
        return Finding("model", Health.NOTE, "PADSERVE_MODEL is not set.", advice)
    folder = Path(settings.model)
    if folder.is_dir() and not (folder / "config.json").exists():
        return Finding("model", Health.WRONG, f"{folder} has no config.json.", "Name the folder that holds the model.")
    if not folder.exists() and (folder.is_absolute() or settings.model.startswith(".")):
        return Finding("model", Health.WRONG, f"{folder} is not there.", "Put PADSERVE_MODEL right.")
    return Finding("model", Health.OK, settings.model)


def _server() -> Iterator[Finding]:
    try:
        with Client(max_retries=0, timeout_seconds=10) as client:
            known = client.models()
    except SettingsError as error:  # it says what to do
        yield Finding("server", Health.WRONG, str(error))
        return
    except PadserveError as error:
        advice = "Start one with `padserve up`, or set PADSERVE_URL and PADSERVE_API_KEY."
        yield Finding("server", Health.WRONG, str(error), advice)
        return
    yield Finding("server", Health.OK, "It answers, and knows the key.")
    ready = [model.id for model in known if model.state == "ready"]
    if ready:
        yield Finding("models", Health.OK, f"Served: {', '.join(ready)}.")
    else:
        states = ", ".join(f"{model.id} is {model.state}" for model in known) or "no worker has registered one"
        yield Finding("models", Health.WRONG, f"None is served: {states}.", "Look into worker.log under the logs.")


def _ready(settings: Settings, home: Home) -> Iterator[Finding]:
    """What `/readyz` says; where nobody answers, what it would say of the database and the Redis that are set."""
    readiness = _said_by_the_server() or _found_from_here(settings, home)
    if readiness is None:
        return  # nothing runs here, which was said above
    if readiness.ready:
        yield Finding("ready", Health.OK, "Jobs that are submitted now are decoded now.")
    else:
        yield Finding("ready", Health.WRONG, readiness.reason or "", "This is what /readyz says; the log says more.")


def _said_by_the_server() -> Readiness | None:
    try:
        answer = httpx.get(f"{server_url(os.environ)}/readyz", timeout=READY_SECONDS)
        return Readiness.model_validate_json(answer.content)
    except (PadserveError, httpx.HTTPError, ValidationError):
        return None


def _found_from_here(settings: Settings, home: Home) -> Readiness | None:
    """The same checks. A stack's own Redis ends with its server, so without a URL there is nothing to ask."""
    url, database_url = settings.redis_url, settings.database_url or home.database_url
    if url is None or database.missing_file(database_url):
        return None
    try:
        opened = Database(database_url, pool_size=1)
    except DatabaseUnreachableError:
        return None  # said above
    try:
        checks = Round(opened, lambda: None if redis_server.answers(url) else "no answer")
        checks.run()
        return checks.readiness()
    finally:
        opened.dispose()
