"""`padserve profiles ...`."""

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padserve.cli import offers
from padserve.cli.context import context_of
from padserve.cli.display import say, show, show_json, show_table
from padserve.cli.options import AsJson, Columns, FormatName, IsCsv, Output, as_flag, columns_of
from padserve.cli.texts import name_and_value, read_principle, read_text
from padserve.errors import ApiError

if TYPE_CHECKING:
    from padserve.client.answers import Feedback, Profile
    from padserve.client.client import Client
    from padserve.client.ndjson import Source

app = typer.Typer(help="What users prefer.", no_args_is_help=True, rich_markup_mode=None)
STANDARD_INPUT = "-"
FORGOTTEN = "What was said before is forgotten; the profile stays as it is."
UserId = Annotated[str, typer.Argument(metavar="USER", help="Your own name for the user.", autocompletion=offers.users)]
Tag = Annotated[list[str] | None, typer.Option(help="Only profiles with this tag; may be repeated.")]


@app.command()
def get(context: typer.Context, user_id: UserId, *, _as_json: AsJson = False) -> None:
    """Show one profile as JSON."""
    given = context_of(context)
    with given.client() as client:
        profile = client.profiles.get(user_id)
    show_json(given.answers, profile, indent=2)


@app.command("set")
def set_(
    context: typer.Context,
    user_id: UserId,
    *,
    principle: Annotated[
        list[str] | None, typer.Option("--principle", "-p", help="A preference; may be repeated. TEXT or TEXT=WEIGHT.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="none, prompt, pad, mixture or contrast.", autocompletion=offers.methods)
    ] = None,
    strength: Annotated[float | None, typer.Option(help="How strongly to guide.")] = None,
    max_kl: Annotated[float | None, typer.Option(help="How far at most, in nats per token.")] = None,
    example: Annotated[
        list[Path] | None, typer.Option(help="A file with a text that the user wrote or liked; may be repeated.")
    ] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, for prompts; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    learn: Annotated[bool, typer.Option("--learn", help="The user agrees that feedback changes the weights.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create or replace one profile: what is not said is not in it."""
    given = context_of(context)
    with given.client() as client:
        profile = client.profiles.put(
            user_id,
            principles=[read_principle(text) for text in principle or ()],
            method=method,
            strength=strength,
            max_kl=max_kl,
            examples=[read_text(path) for path in example or ()],
            attributes=dict(name_and_value(text, "--attribute") for text in attribute or ()),
            tags=tag or (),
            learn=learn,
        )
    show(given.answers, profile, f"{profile.user_id} is at version {profile.version}.", as_json=as_json)


@app.command()
def delete(context: typer.Context, user_id: UserId, *, as_json: AsJson = False) -> None:
    """Remove a profile with all its versions."""
    given = context_of(context)
    with given.client() as client:
        client.profiles.delete(user_id)
    show(given.answers, {"user_id": user_id, "deleted": True}, f"{user_id} is removed.", as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tag: Tag = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List profiles by user."""
    given = context_of(context)
    with given.client() as client:
        found = client.profiles.list(tags=tag or (), page_size=min(limit, 1000))
        shown = list(islice(found, limit))
    if as_json:
        show_json(given.answers, shown)
    elif shown:
        rows = [_row(profile) for profile in shown]
        show_table(given.answers, ("user", "version", "method", "principles", "tags"), rows)
    else:
        say(given.notes, "There are no profiles.")


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(help="A file with one profile per line, as NDJSON or CSV; - is standard input.")
    ],
    *,
    column: Columns = None,
    is_csv: IsCsv = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, and say what would happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create or change the profiles of a file, all or none. What a line leaves out stays as it is.

    Columns of a CSV file are user_id, principles, tags, method, strength, max_kl, examples, learn, attributes.NAME and
    metadata.NAME; --column "*=attributes" makes attributes of all others. In a cell, tags and principles have
    semicolons between them, and a principle may be TEXT=WEIGHT.
    """
    given = context_of(context)
    source: Source = sys.stdin.buffer if file == STANDARD_INPUT else Path(file)
    with given.client() as client:
        try:
            report = client.profiles.import_(source, dry_run=dry_run, columns=columns_of(column, is_csv=is_csv))
        except ApiError as error:
            raise error.moved(as_flag) from None
    counts = f"{report.num_created} created, {report.num_updated} updated, {report.num_unchanged} unchanged"
    line = f"{counts} (dry run: nothing was stored)." if dry_run else f"{counts}."
    show(given.answers, report, line, as_json=as_json)


@app.command()
def export(
    context: typer.Context,
    *,
    output: Output = None,
    form: FormatName = None,
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Write profiles as JSON lines, as CSV, or as one JSON list (--json). The first two are what `import` takes."""
    from padserve.client import formats

    given = context_of(context)
    written = formats.chosen(form, output, as_json=as_json)
    with given.client() as client:
        lines = client.profiles.export_lines(tags=tag or ())
        num_lines = formats.write(lines, output, written, formats.profiles_csv)
    if output is not None:
        say(given.notes, f"{num_lines} profiles are in {output}.")


@app.command()
def feedback(
    context: typer.Context,
    user_id: UserId,
    file: Annotated[
        str | None, typer.Argument(help="An NDJSON file of pairs and ratings; - is standard input. Without: only look.")
    ] = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(help="Whose policy scores the texts, where several are served.", autocompletion=offers.models),
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Forget everything that was said before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a user preferred, or look what came of it.

    A line is a pair (`prompt`, `chosen`, `rejected`) or a rating of a result (`job_id`, `custom_id`, `rating`).
    """
    from padserve.client.ndjson import read_objects

    given = context_of(context)
    said = ""
    lines = None if file is None else read_objects(file)  # before anything is withdrawn: it may be broken
    with given.client() as client:
        if withdraw:
            client.profiles.withdraw_feedback(user_id)
            say(given.notes if as_json else given.answers, FORGOTTEN)
            if lines is None and not as_json:
                return
        if lines is None:
            answer = client.profiles.feedback(user_id)
        else:
            ratings = [line for line in lines if "rating" in line]
            pairs = [line for line in lines if "rating" not in line]
            answer = _given(client, user_id, pairs, ratings, model)
            said = f"Pairs: {answer.num_new} new, {answer.num_duplicate} known, {answer.num_pairs} in all."
    words = [*([] if lines is None else [said]), answer.message or _fit_in_words(answer)]
    show(given.answers, answer, "\n".join(words), as_json=as_json)


def _given(
    client: "Client",
    user_id: str,
    pairs: "list[dict[str, object]]",
    ratings: "list[dict[str, object]]",
    model: str | None,
) -> "Feedback":
    try:
        return client.profiles.give_feedback(user_id, pairs=pairs, ratings=ratings, model=model)
    except ApiError as error:
        raise error.moved(as_flag) from None


def _fit_in_words(answer: "Feedback") -> str:
    fit = answer.fit
    if fit is None:
        return f"Pairs stored: {answer.num_pairs}; no fit was asked for yet."
    if fit.error is not None:
        return f"The profile stays as it was ({fit.error.code}): {fit.error.message}"
    if fit.version is not None:
        forgotten = "" if answer.num_pairs else " They are forgotten."
        return f"Version {fit.version} of the profile was learnt from {fit.num_pairs} pairs.{forgotten}"
    if fit.state == "succeeded":
        return f"The weights came out as they were, from {fit.num_pairs} pairs: no version was written."
    return f"The fit to the pairs is {fit.state}."


def _row(profile: "Profile") -> tuple[str, ...]:
    principles = ", ".join(
        entry.text if entry.weight == 1 else f"{entry.text} ({entry.weight:g})" for entry in profile.principles
    )
    return profile.user_id, str(profile.version), profile.method or "", principles, ", ".join(profile.tags)
