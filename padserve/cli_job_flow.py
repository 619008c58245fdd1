"""`padserve jobs`: list them, and what may be done to one that is there: pause, resume, retry, delete."""

from typing import Annotated

import typer

from padserve.cli_jobs import JobId
from padserve.context import context_of
from padserve.display import job_line, say, show_table

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def jobs(
    context: typer.Context,
    *,
    state: Annotated[
        str | None, typer.Option(help="Only queued, running, completed, cancelled or expired ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
) -> None:
    """List jobs, the newest first; or pause, resume, retry or delete one."""
    if context.invoked_subcommand is not None:
        return
    given = context_of(context)
    with given.client() as client:
        newest = [
            job for job, _ in zip(client.jobs(state=state, page_size=min(limit, 100)), range(limit), strict=False)
        ]
    rows = [(job.id, f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}", job_line(job)) for job in newest]
    if rows:
        show_table(given.answers, ("job", "created", "state"), rows)
    else:
        say(given.notes, "There are no jobs.")


@app.command()
def pause(context: typer.Context, job_id: JobId) -> None:
    """Begin nothing more of a job until it is resumed."""
    given = context_of(context)
    with given.client() as client:
        say(given.answers, job_line(client.pause(job_id)))


@app.command()
def resume(context: typer.Context, job_id: JobId) -> None:
    """Let a paused job go on."""
    given = context_of(context)
    with given.client() as client:
        say(given.answers, job_line(client.resume(job_id)))


@app.command()
def retry(context: typer.Context, job_id: JobId) -> None:
    """Have what failed of a job done again. What has finished is kept."""
    given = context_of(context)
    with given.client() as client:
        say(given.answers, job_line(client.retry(job_id)))


@app.command()
def delete(context: typer.Context, job_id: JobId) -> None:
    """Remove an ended job with its items and texts, for good."""
    given = context_of(context)
    with given.client() as client:
        client.delete(job_id)
    say(given.notes, f"{job_id} is deleted.")
