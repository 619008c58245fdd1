"""One job on a private stack that starts for it and ends with it. Knows neither what is written nor by which model."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from padserve import Client, Job, PadserveError, Result, StackError
from padserve.cli.display import job_progress, say, show_error
from padserve.settings import Settings
from padserve.stack.stack import Stack, running_stack

FAILED = 1
INTERRUPTED = 130
MAX_REASONS_SHOWN = 5
CHECK_SECONDS = 0.1


@dataclass(frozen=True)
class Story:
    """What a demo runs."""

    home: Path
    """The data folder; it stays, and may be served afterwards."""
    model: str
    profiles: Iterable[Mapping[str, object]]
    items: Iterable[Mapping[str, object]]
    plot: str
    """One line that says what the job consists of; `{num_profiles}` and `{num_items}` stand in it."""
    policy: str | None = None
    defaults: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """How it went: every item has its text."""

    job: Job
    results: tuple[Result, ...]


def exit_code_of(run: Callable[[Console], None]) -> int:
    """Run a demo, its errors in words. No process is left behind, however it ends."""
    console = Console()
    try:
        run(console)
    except PadserveError as error:
        show_error(Console(stderr=True), error)
        return FAILED
    except KeyboardInterrupt:
        say(console, "Interrupted. Everything that was started has been stopped.")
        return INTERRUPTED
    return 0


def tell(console: Console, story: Story) -> Told:
    """Start the stack, store the profiles, run the job, and fetch what was written; raises PadserveError."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PADSERVE_")}
    environ |= {"PADSERVE_MODEL": story.model, "PADSERVE_POLICY": story.policy or ""}
    settings = Settings(home=story.home.absolute(), port=0, model=story.model, drain_seconds=0)
    say(console, "Starting a private server: Redis, SQLite, the API and one worker ...")
    with (
        running_stack(settings, environ, report=partial(say, console)) as stack,
        Client(stack.url, stack.api_key) as client,
    ):
        return _write(console, story, stack, client)


def _write(console: Console, story: Story, stack: Stack, client: Client) -> Told:
    say(console, f"It answers at {stack.url}.")
    _await_worker(console, stack)
    _cancel_what_an_interrupted_demo_left(client)
    num_profiles = client.profiles.import_(story.profiles).num_profiles
    job = client.submit(story.items, defaults=story.defaults, metadata={"name": "demo"})
    say(console, story.plot.format(num_profiles=num_profiles, num_items=job.counts.total))
    job = _follow(console, stack, client, job.id)
    if job.counts.succeeded < job.counts.total:
        failed = client.results(job.id, state="failed")
        reasons = sorted({result.error.message for result in failed if result.error})[:MAX_REASONS_SHOWN]
        raise StackError(f"Only {job.counts.succeeded} of {job.counts.total} items were written.", reasons)
    return Told(job, tuple(client.results(job.id)))


def _await_worker(console: Console, stack: Stack) -> None:
    """A job is for a model, and there is none before the worker has loaded it."""
    say(console, "The worker is loading the model ...")
    while not stack.is_ready:
        stack.check()
        time.sleep(CHECK_SECONDS)


def _cancel_what_an_interrupted_demo_left(client: Client) -> None:
    for state in ("queued", "running"):
        for job in client.jobs(state=state):
            client.cancel(job.id)


def _follow(console: Console, stack: Stack, client: Client, job_id: str) -> Job:
    with job_progress(console) as show:

        def on_progress(job: Job) -> None:
            stack.check()
            show(job)

        return client.wait(job_id, on_progress=on_progress)
