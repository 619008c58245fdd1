"""`padserve up`: a local stack until somebody ends it, and what a person should read meanwhile."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from padserve.display import say
from padserve.errors import StackError
from padserve.settings import Settings
from padserve.stack import Programs, Stack, running_stack

CHECK_SECONDS = 0.2
NO_MODEL = (
    "PADSERVE_MODEL is not set: name a Hugging Face model, or a folder that holds one. "
    "`make up` serves this project's demo model."
)


def run(settings: Settings, environ: Mapping[str, str], console: Console, programs: Programs | None = None) -> None:
    """Start a stack, say where things are, watch it until SIGINT or SIGTERM; returns when no process is left."""
    if settings.model is None:
        raise StackError(NO_MODEL)

    report = partial(say, console)

    try:
        with running_stack(settings, environ, report=report, programs=programs) as stack:
            report(announcement(stack, settings))
            _watch(stack, report=report, model=settings.model)
    except KeyboardInterrupt:
        report("Stopped.")


def _watch(stack: Stack, *, report: Callable[[str], None], model: str) -> None:
    was_ready = False
    while True:
        stack.check()
        if stack.is_ready and not was_ready:
            report(f"Ready: the worker has loaded {model}.")
        was_ready = stack.is_ready
        time.sleep(CHECK_SECONDS)


def announcement(stack: Stack, settings: Settings) -> str:
    """Where things are, and one command to try."""
    home = _shown(stack.home.path)
    key_place = f"{home}/api_key" if settings.api_key is None else "as you set it in PADSERVE_API_KEY"
    key = f"$(cat {home}/api_key)" if settings.api_key is None else "$PADSERVE_API_KEY"
    return "\n".join(
        (
            f"padserve answers at {stack.url}; the worker is loading its model. Ctrl-C stops both.",
            "",
            f"  docs page   {stack.url}/docs",
            f"  API key     {key_place}",
            f"  data        {home}",
            f"  logs        {home}/logs",
            "",
            f'  curl -H "Authorization: Bearer {key}" {stack.url}/v1/models',
            "",
        )
    )


def _shown(path: Path) -> str:
    """The path as a person at this working directory would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
