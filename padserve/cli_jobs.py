"""`padserve submit`, `campaign`, `status`, `results`, `cancel` and `readdress`."""

import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from padserve.answers import Job
from padserve.client import Client
from padserve.context import CommandContext, context_of
from padserve.display import job_line, job_progress, say
from padserve.endpoints import Campaign
from padserve.files import write_lines
from padserve.ndjson import STANDARD_INPUT, Source

NOT_ALL_SUCCEEDED = 1
RESULTS_ARE_INCOMPLETE = 3
INTERRUPTED = 130
INCOMPLETE = "Not all: {num_left} of {total} items have not ended. For all of them: padserve results {id} --wait"

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it has ended; exit code 1 if an item failed.")]
Method = Annotated[str | None, typer.Option(help="none, prompt, pad, mixture or contrast, where an item says nothing.")]
Strength = Annotated[float | None, typer.Option(help="How strongly to guide, where an item says nothing.")]
MaxKl = Annotated[
    float | None, typer.Option(help="How far guidance may go, in nats per token, where an item says nothing.")
]
NumChoices = Annotated[int | None, typer.Option("--n", help="Answers per item, where an item says nothing.")]
Temperature = Annotated[float | None, typer.Option(help="0 is greedy, where an item says nothing.")]
MaxTokens = Annotated[int | None, typer.Option(help="Tokens per text at most, where an item says nothing.")]
ModelName = Annotated[str | None, typer.Option("--model", help="Which model; `padserve models` lists them.")]
Priority = Annotated[str | None, typer.Option(help="interactive, normal or bulk: which of your own jobs goes first.")]
Window = Annotated[
    str | None,
    typer.Option("--completion-window", help="As in 24h: what has not ended by then never will."),
]
NotBefore = Annotated[
    datetime | None,
    typer.Option(help="Begin at this moment, in your time zone.", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]),
]
Key = Annotated[str | None, typer.Option("--key", help="An Idempotency-Key: the same key never makes a second job.")]


def submit(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="An NDJSON file with one item per line; - is standard input.")],
    *,
    wait: Wait = False,
    model: ModelName = None,
    method: Method = None,
    strength: Strength = None,
    max_kl: MaxKl = None,
    temperature: Temperature = None,
    n: NumChoices = None,
    max_tokens: MaxTokens = None,
    priority: Priority = None,
    completion_window: Window = None,
    not_before: NotBefore = None,
    key: Key = None,
) -> None:
    """Submit a file of items: {"custom_id", "user_id", "prompt"} and what they override, one per line."""
    source: Source = sys.stdin.buffer if file == STANDARD_INPUT else Path(file)
    defaults = _stated(
        method=method, strength=strength, max_kl=max_kl, temperature=temperature, n=n, max_tokens=max_tokens
    )
    _submit(
        context_of(context), source, _Options(model, defaults, key, priority, completion_window, not_before), wait=wait
    )


def campaign(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to write; {first_name} stands for that attribute of a profile.")],
    *,
    tag: Annotated[list[str] | None, typer.Option(help="For every user with this tag; may be repeated.")] = None,
    user: Annotated[list[str] | None, typer.Option(help="For this user; may be repeated.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="For every user there is.")] = False,
    wait: Wait = False,
    model: ModelName = None,
    method: Method = None,
    strength: Strength = None,
    max_kl: MaxKl = None,
    temperature: Temperature = None,
    n: NumChoices = None,
    max_tokens: MaxTokens = None,
    priority: Priority = None,
    completion_window: Window = None,
    not_before: NotBefore = None,
    key: Key = None,
) -> None:
    """Submit one prompt for many users."""
    if sum((bool(tag), bool(user), everyone)) != 1:
        raise typer.BadParameter("Say for whom: either --tag, or --user, or --all.")
    source = Campaign(prompt, tags=tag or (), user_ids=user or (), everyone=everyone)
    defaults = _stated(
        method=method, strength=strength, max_kl=max_kl, temperature=temperature, n=n, max_tokens=max_tokens
    )
    _submit(
        context_of(context), source, _Options(model, defaults, key, priority, completion_window, not_before), wait=wait
    )


def status(
    context: typer.Context,
    job_id: JobId,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it has ended.")] = False,
) -> None:
    """Say how far a job is."""
    given = context_of(context)
    with given.client() as client:
        if watch:
            _follow(given, client, job_id)
        else:
            say(given.answers, job_line(client.job(job_id)))


def results(
    context: typer.Context,
    job_id: JobId,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.", dir_okay=False)] = None,
    state: Annotated[str | None, typer.Option(help="Only succeeded, failed or cancelled items.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until the job has ended.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="What is there will do: exit code 0.")] = False,
) -> None:
    """Write results as NDJSON, in input order.

    While the job runs, those that are there are written, and the exit code is 3: they are not all.
    """
    given = context_of(context)
    with given.client() as client:
        if wait:
            _wait(given, client, job_id)
        before = client.job(job_id)  # what ends while the lines are read may be missing among them
        num_lines = write_lines(client.result_lines(job_id, state=state, partial=True), output)
    if output is not None:
        say(given.notes, f"{num_lines} results are in {output}.")
    if not before.has_ended:
        counts = before.counts
        say(given.notes, INCOMPLETE.format(id=job_id, num_left=counts.total - counts.ended, total=counts.total))
        if not partial:
            raise typer.Exit(RESULTS_ARE_INCOMPLETE)


def cancel(context: typer.Context, job_id: JobId) -> None:
    """End a job. What has finished is kept."""
    given = context_of(context)
    with given.client() as client:
        say(given.answers, job_line(client.cancel(job_id)))


def readdress(
    context: typer.Context,
    job_id: JobId,
    *,
    model: Annotated[str, typer.Option(help="The model that is to write what is left.")],
) -> None:
    """Give what is left of a job to another model: for when nobody serves its own any more."""
    given = context_of(context)
    with given.client() as client:
        say(given.answers, job_line(client.readdress(job_id, model)))


@dataclass(frozen=True, slots=True)
class _Options:
    """What both forms of submission say."""

    model: str | None
    defaults: dict[str, object]
    key: str | None
    priority: str | None
    completion_window: str | None
    not_before: datetime | None


def _submit(given: CommandContext, source: Source | Campaign, options: _Options, *, wait: bool) -> None:
    with given.client() as client:
        job = client.submit(
            source,
            model=options.model,
            defaults=options.defaults,
            priority=options.priority,
            completion_window=options.completion_window,
            not_before=None if options.not_before is None else options.not_before.astimezone(),
            idempotency_key=options.key,
        )
        say(given.answers, job.id)
        if wait:
            _follow(given, client, job.id)
        else:
            say(given.notes, f"{job.counts.total} items are queued. Follow them: padserve status {job.id} --watch")


def _follow(given: CommandContext, client: Client, job_id: str) -> None:
    job = _wait(given, client, job_id)
    if job.counts.succeeded < job.counts.total:
        raise typer.Exit(NOT_ALL_SUCCEEDED)


def _wait(given: CommandContext, client: Client, job_id: str) -> Job:
    try:
        with job_progress(given.notes) as on_progress:
            return client.wait(job_id, on_progress=on_progress)
    except KeyboardInterrupt:
        say(given.notes, f"The job goes on without you: padserve status {job_id} --watch, or padserve cancel {job_id}")
        raise typer.Exit(INTERRUPTED) from None


def _stated(**given: object) -> dict[str, object]:
    return {name: value for name, value in given.items() if value is not None}
