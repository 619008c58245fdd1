"""`padserve submit`, `campaign`, `status`, `results`, `cancel` and `readdress`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padserve.cli import offers
from padserve.cli.campaign_lines import audience_lines, dry_run_lines
from padserve.cli.context import CommandContext, context_of
from padserve.cli.display import job_line, job_progress, say, show, show_json
from padserve.cli.options import (
    AsJson,
    CampaignOptions,
    Columns,
    FormatName,
    IsCsv,
    JobOptions,
    Output,
    as_flag,
    columns_of,
    with_options,
)
from padserve.errors import ApiError

if TYPE_CHECKING:
    from padserve.client.answers import Job
    from padserve.client.client import Client
    from padserve.client.endpoints import Campaign
    from padserve.client.ndjson import Source

NOT_ALL_SUCCEEDED = 1
RESULTS_ARE_INCOMPLETE = 3
INTERRUPTED = 130
INCOMPLETE = "Not all: {num_left} of {total} items have not ended. For all of them: padserve results {id} --wait"

STANDARD_INPUT = "-"

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", autocompletion=offers.jobs())]
OpenJobId = Annotated[
    str, typer.Argument(metavar="ID", help="The job's id.", autocompletion=offers.jobs(*offers.OPEN_STATES))
]
EndedJobId = Annotated[
    str, typer.Argument(metavar="ID", help="The job's id.", autocompletion=offers.jobs(*offers.ENDED_STATES))
]


@with_options
def submit(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A file with one item per line, as NDJSON or CSV; - is standard input.")],
    *,
    column: Columns = None,
    is_csv: IsCsv = False,
    options: JobOptions,
) -> None:
    """Submit a file of items: {"custom_id", "user_id", "prompt"} and what they override, one per line."""
    source: Source = sys.stdin.buffer if file == STANDARD_INPUT else Path(file)
    _submit(context_of(context), source, options, columns_of(column, is_csv=is_csv))


@with_options
def campaign(
    context: typer.Context,
    prompt: Annotated[
        str,
        typer.Argument(
            help="What to write; {first_name} is that attribute of a profile, {first_name|friend} has a default."
        ),
    ],
    *,
    options: CampaignOptions,
) -> None:
    """Submit one prompt for many users. `padserve preview` shows what some of them would get."""
    _submit(context_of(context), options.campaign(prompt), options)


def status(
    context: typer.Context,
    job_id: JobId,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a job is."""
    given = context_of(context)
    with given.client() as client:
        if watch:
            follow(given, client, job_id, as_json=as_json)
        else:
            show_job(given, client.job(job_id), as_json=as_json)


def results(
    context: typer.Context,
    job_id: JobId,
    *,
    output: Output = None,
    form: FormatName = None,
    state: Annotated[
        str | None,
        typer.Option(help="Only succeeded, failed or cancelled items.", autocompletion=offers.result_states),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until the job has ended.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="What is there will do: exit code 0.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write results in input order: as JSON lines, as CSV, or as one JSON list (--json).

    While the job runs, those that are there are written, and the exit code is 3: they are not all.
    """
    from padserve.client import formats
    from padserve.client.files import write_chunks

    given = context_of(context)
    written = formats.chosen(form, output, as_json=as_json)
    with given.client() as client:
        if wait:
            _wait(given, client, job_id)
        before = client.job(job_id)  # what ends while the lines are read may be missing among them
        if written is formats.Format.CSV:
            write_chunks(client.results_csv(job_id, state=state, partial=True), output)
            what = "The results"
        else:
            lines = client.result_lines(job_id, state=state, partial=True)
            what = f"{formats.write(lines, output, written)} results"
    if output is not None:
        say(given.notes, f"{what} are in {output}.")
    if not before.has_ended:
        counts = before.counts
        say(given.notes, INCOMPLETE.format(id=job_id, num_left=counts.total - counts.ended, total=counts.total))
        if not partial:
            raise typer.Exit(RESULTS_ARE_INCOMPLETE)


def cancel(context: typer.Context, job_id: OpenJobId, *, as_json: AsJson = False) -> None:
    """End a job. What has finished is kept."""
    given = context_of(context)
    with given.client() as client:
        show_job(given, client.cancel(job_id), as_json=as_json)


def readdress(
    context: typer.Context,
    job_id: JobId,
    *,
    model: Annotated[str, typer.Option(help="The model that is to write what is left.", autocompletion=offers.models)],
    as_json: AsJson = False,
) -> None:
    """Give what is left of a job to another model: for when nobody serves its own any more."""
    given = context_of(context)
    with given.client() as client:
        show_job(given, client.readdress(job_id, model), as_json=as_json)


def show_job(given: CommandContext, job: "Job", *, as_json: bool) -> None:
    """How far a job is, in a line."""
    show(given.answers, job, job_line(job), as_json=as_json)


def _submit(
    given: CommandContext,
    source: "Source | Campaign",
    options: JobOptions,
    columns: Mapping[str, str] | None = None,
) -> None:
    with given.client() as client:
        try:
            if options.dry_run:
                told = client.dry_run(source, columns=columns, **options.stated)
                show(given.answers, told, "\n".join(dry_run_lines(told)), as_json=options.as_json)
                return
            job = client.submit(source, idempotency_key=options.key, columns=columns, **options.stated)
        except ApiError as error:
            raise error.moved(as_flag) from None
        for line in audience_lines(job.audience, job.counts.total):
            say(given.notes, line)
        if not (options.wait and options.as_json):
            show(given.answers, job, job.id, as_json=options.as_json)
        if options.wait:
            follow(given, client, job.id, as_json=options.as_json)
        else:
            queued = f"{job.counts.total} items are queued."
            say(given.notes, f"{queued} {job.waiting_reason}" if job.waiting_reason else queued)
            say(given.notes, f"Follow them: padserve jobs watch {job.id}")
        say(given.notes, f"Read the texts: padserve results {job.id}")


def follow(given: CommandContext, client: "Client", job_id: str, *, as_json: bool = False) -> None:
    """Show a job until it has ended; the exit code is 1 where not all of it succeeded."""
    job = _wait(given, client, job_id)
    if as_json:
        show_json(given.answers, job)
    if job.counts.succeeded < job.counts.total:
        raise typer.Exit(NOT_ALL_SUCCEEDED)


def _wait(given: CommandContext, client: "Client", job_id: str) -> "Job":
    try:
        with job_progress(given.notes) as on_progress:
            return client.wait(job_id, on_progress=on_progress)
    except KeyboardInterrupt:
        say(given.notes, f"The job goes on without you: padserve jobs watch {job_id}, or padserve cancel {job_id}")
        raise typer.Exit(INTERRUPTED) from None
