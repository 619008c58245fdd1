"""`padserve jobs`: list them; watch, pause, resume, prioritise, retry or delete one."""

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from padserve.cli import offers
from padserve.cli.context import context_of
from padserve.cli.display import say, show_json, show_table
from padserve.cli.jobs import EndedJobId, JobId, OpenJobId, follow, show_job
from padserve.cli.options import AsJson
from padserve.errors import ApiError

if TYPE_CHECKING:
    from padserve.client.answers import Job

WIDE = 72

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def jobs(
    context: typer.Context,
    *,
    state: Annotated[
        str | None,
        typer.Option(
            help="Only queued, running, completed, cancelled or expired ones.", autocompletion=offers.job_states
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only those of exactly this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first; or watch, pause, resume, prioritise, retry or delete one."""
    if context.invoked_subcommand is not None:
        return
    given = context_of(context)
    with given.client() as client:
        newest = list(islice(client.jobs(state=state, name=name, page_size=min(limit, 100)), limit))
    if as_json:
        show_json(given.answers, newest)
    elif newest:
        num_columns = 5 if given.answers.is_terminal and given.answers.width >= WIDE else 3
        rows = [_row(job)[:num_columns] for job in newest]
        show_table(given.answers, ("job", "state", "ended", "created", "name")[:num_columns], rows)
    else:
        say(given.notes, "There are no jobs.")


def _row(job: "Job") -> tuple[str, ...]:
    """A job as cells of the table, the first three of which fit a narrow terminal."""
    state = "paused" if job.paused_at is not None and not job.has_ended else job.state
    ended = f"{job.counts.ended}/{job.counts.total}"
    return job.id, state, ended, f"{job.created_at.astimezone():%m-%d %H:%M}", job.name or ""


@app.command()
def watch(context: typer.Context, job_id: OpenJobId, *, as_json: AsJson = False) -> None:
    """Follow a job until it has ended; exit code 1 if an item failed."""
    given = context_of(context)
    with given.client() as client:
        follow(given, client, job_id, as_json=as_json)


@app.command()
def pause(context: typer.Context, job_id: OpenJobId, *, as_json: AsJson = False) -> None:
    """Begin nothing more of a job until it is resumed."""
    given = context_of(context)
    with given.client() as client:
        show_job(given, client.pause(job_id), as_json=as_json)


@app.command()
def resume(context: typer.Context, job_id: OpenJobId, *, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    given = context_of(context)
    with given.client() as client:
        show_job(given, client.resume(job_id), as_json=as_json)


@app.command("priority")
def prioritise(
    context: typer.Context,
    job_id: OpenJobId,
    priority: Annotated[
        str,
        typer.Argument(metavar="PRIORITY", help="interactive, normal or bulk.", autocompletion=offers.priorities),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Have what is left of a job written before or after your other jobs."""
    given = context_of(context)
    with given.client() as client:
        try:
            show_job(given, client.prioritise(job_id, priority), as_json=as_json)
        except ApiError as error:
            raise error.moved(lambda wrong: replace(wrong, pointer=wrong.pointer and "PRIORITY")) from None


@app.command()
def retry(context: typer.Context, job_id: JobId, *, as_json: AsJson = False) -> None:
    """Have what failed of a job done again. What has finished is kept."""
    given = context_of(context)
    with given.client() as client:
        show_job(given, client.retry(job_id), as_json=as_json)


@app.command()
def delete(context: typer.Context, job_id: EndedJobId, *, as_json: AsJson = False) -> None:
    """Remove an ended job with its items and texts, for good."""
    given = context_of(context)
    with given.client() as client:
        client.delete(job_id)
    if as_json:
        show_json(given.answers, {"id": job_id, "deleted": True})
    else:
        say(given.notes, f"{job_id} is deleted.")
