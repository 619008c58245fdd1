"""`make demo`: a private stack, ten profiles, one real job, and what guidance changed in its texts."""

import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from examples.demo import report
from examples.demo.readers import METHODS, READERS, STRENGTH, Written, items, make_prompts, profiles, written_in
from padserve import Client, Job, PadserveError, StackError
from padserve.display import job_progress, say, show_error
from padserve.settings import Settings
from padserve.stack import Stack, running_stack

MODEL = Path(__file__).parent / "model"
HOME = Path(".padserve/demo")
MAX_TOKENS = 120
FAILED = 1
INTERRUPTED = 130
MAX_REASONS_SHOWN = 5
CHECK_SECONDS = 0.1
HOPELESS = "The worker could not load the demo's models."
NO_MODEL = "The demo's models are not in {folder}: train them with `make demo-model`."


def main() -> int:
    """Run the demo; returns the exit code. No process is left behind, however it ends."""
    console = Console()
    try:
        _run(console, os.environ)
    except PadserveError as error:
        show_error(Console(stderr=True), error)
        return FAILED
    except KeyboardInterrupt:
        say(console, "Interrupted. Everything that was started has been stopped.")
        return INTERRUPTED
    return 0


def _run(console: Console, environ: Mapping[str, str]) -> None:
    if not (MODEL / "base").is_dir():
        raise StackError(NO_MODEL.format(folder=os.path.relpath(MODEL)))
    environ = {name: value for name, value in environ.items() if not name.startswith("PADSERVE_")}
    base, policy = (os.path.relpath(MODEL / part) for part in ("base", "policy"))
    environ |= {"PADSERVE_MODEL": base, "PADSERVE_POLICY": policy}
    settings = Settings(home=HOME.absolute(), port=0, model=base, drain_seconds=0)
    say(console, "Starting a private server: Redis, SQLite, the API and one worker ...")
    with (
        running_stack(settings, environ, report=partial(say, console)) as stack,
        Client(stack.url, stack.api_key) as client,
    ):
        job, written = _write(console, stack, client)
    report.show(console, job, written)
    report.show_way_on(console, HOME)


def _write(console: Console, stack: Stack, client: Client) -> tuple[Job, list[Written]]:
    """Store the profiles, run the job, and fetch what was written."""
    say(console, f"It answers at {stack.url}.")
    _await_worker(console, stack)
    _cancel_what_an_interrupted_demo_left(client)
    num_profiles = client.profiles.import_(profiles()).num_profiles
    prompts = make_prompts()
    defaults = {"max_tokens": MAX_TOKENS, "strength": STRENGTH}
    job = client.submit(items(prompts), defaults=defaults, metadata={"name": "demo"})
    say(
        console,
        f"{num_profiles} readers have a profile; {len(prompts)} prompts x {len(READERS)} readers x "
        f"{len(METHODS)} methods are {job.counts.total} items in one job.",
    )
    job = _follow(console, stack, client, job.id)
    if job.counts.succeeded < job.counts.total:
        failed = client.results(job.id, state="failed")
        reasons = sorted({result.error.message for result in failed if result.error})[:MAX_REASONS_SHOWN]
        raise StackError(f"Only {job.counts.succeeded} of {job.counts.total} items were written.", reasons)
    return job, [written_in(result, prompts) for result in client.results(job.id)]


def _await_worker(console: Console, stack: Stack) -> None:
    """A job is for a model, and there is none before the worker has loaded it."""
    say(console, "The worker is loading the models ...")
    while not stack.is_ready:
        stack.check()
        if stack.is_hopeless:
            raise StackError(HOPELESS)
        time.sleep(CHECK_SECONDS)


def _cancel_what_an_interrupted_demo_left(client: Client) -> None:
    for state in ("queued", "running"):
        for job in client.jobs(state=state):
            client.cancel(job.id)


def _follow(console: Console, stack: Stack, client: Client, job_id: str) -> Job:
    with job_progress(console) as show:

        def on_progress(job: Job) -> None:
            stack.check()
            if stack.is_hopeless:
                raise StackError(HOPELESS)
            show(job)

        return client.wait(job_id, on_progress=on_progress)
