"""`padserve up`: a local stack until somebody ends it, and what a person should read meanwhile."""

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from padserve.cli.display import say, show_json
from padserve.errors import StackError
from padserve.settings import Settings
from padserve.stack.served import ServedModel
from padserve.stack.stack import Programs, Stack, running_stack

CHECK_SECONDS = 0.2
NO_MODEL = (
    "PADSERVE_MODEL is not set, and no --model is given: name a Hugging Face model, or a folder that holds one. "
    "`make up` serves this project's demo model."
)


def run(
    settings: Settings,
    environ: Mapping[str, str],
    console: Console,
    programs: Programs | None = None,
    models: Sequence[ServedModel] = (),
    *,
    notes: Console | None = None,
) -> None:
    """Start a stack, say where things are, watch it until SIGINT or SIGTERM; returns when no process is left.

    `models` are served instead of the one that the settings name. With `notes`, what is for people goes there, and
    the console gets lines of JSON: where things are, and each model that becomes ready.
    """
    model = models[0].model if models else settings.model
    if model is None:
        raise StackError(NO_MODEL)

    report = partial(say, notes or console)
    answer = None if notes is None else partial(show_json, console)

    try:
        with running_stack(settings, environ, report=report, programs=programs, models=models) as stack:
            report(announcement(stack, settings, num_models=len(models) or 1))
            if answer is not None:
                answer(_places(stack))
            _watch(stack, report=report, answer=answer, model=model if len(models) < 2 else None)  # noqa: PLR2004 - one is not several
    except KeyboardInterrupt:
        report("Stopped.")


def _watch(
    stack: Stack, *, report: Callable[[str], None], answer: Callable[[object], None] | None, model: str | None
) -> None:
    """Tell of every model that becomes ready; `model` is the only one, and None stands for several."""
    before: set[str] = set()
    while True:
        stack.check()
        several = {f"{served.model} as {served.name}" for served in stack.ready_models}
        ready = several if model is None else {model} if stack.is_ready else set()
        for name in sorted(ready - before):
            report(f"Ready: the worker has loaded {name}.")
            if answer is not None:
                answer({"ready": name})
        before = ready
        time.sleep(CHECK_SECONDS)


def _places(stack: Stack) -> dict[str, str]:
    """Where things are, for a program."""
    home = stack.home
    places = {"home": home.path, "api_key_file": home.api_key_file, "logs": home.logs}
    return {"url": stack.url} | {name: str(path) for name, path in places.items()}


def announcement(stack: Stack, settings: Settings, *, num_models: int = 1) -> str:
    """Where things are, and one command to try."""
    home = _shown(stack.home.path)
    key_place = f"{home}/api_key" if settings.api_key is None else "as you set it in PADSERVE_API_KEY"
    key = f"$(cat {shlex.quote(f'{home}/api_key')})" if settings.api_key is None else "$PADSERVE_API_KEY"
    loading = "the worker is loading its model. Ctrl-C stops both"
    if num_models > 1:
        loading = f"{num_models} workers are loading their models. Ctrl-C stops everything"
    return "\n".join(
        (
            f"padserve answers at {stack.url}; {loading}.",
            "",
            f"  dashboard   {stack.url}/ (sign in with the API key)",
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
