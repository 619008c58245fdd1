"""`padserve preview`."""

from typing import TYPE_CHECKING, Annotated

import typer

from padserve.cli.context import context_of
from padserve.cli.display import say, show_json, show_text
from padserve.cli.options import PreviewOptions, as_flag, with_options
from padserve.errors import ApiError

if TYPE_CHECKING:
    from padserve.client.campaigns import PreviewedUser

NOT_ALL_THERE = 1


@with_options
def preview(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="As in `padserve campaign`.")],
    *,
    users: Annotated[int, typer.Option(min=1, max=20, help="How many users to show.")] = 5,
    draw: Annotated[int, typer.Option(min=0, help="Another number draws other users.")] = 0,
    texts: Annotated[bool, typer.Option("--texts", help="Also have their texts written, and wait.")] = False,
    unguided: Annotated[bool, typer.Option("--unguided", help="Beside each text, the same unguided.")] = False,
    timeout: Annotated[int, typer.Option(min=1, max=300, metavar="SECONDS", help="How long to wait.")] = 60,
    options: PreviewOptions,
) -> None:
    """Show what some users of a campaign would get. Nothing is queued, and nothing of it is kept."""
    given = context_of(context)
    try:
        with given.client() as client:
            shown = client.campaigns.preview(
                options.campaign(prompt),
                n=users,
                seed=draw,
                texts=texts or unguided,
                unguided=unguided,
                wait_seconds=timeout,
                model=options.model,
                defaults=options.defaults,
            )
    except ApiError as error:
        raise error.moved(as_flag) from None
    if options.as_json:
        show_json(given.answers, shown)
    else:
        for user in shown.data:
            for heading, text in _parts(user):
                say(given.answers, heading)
                show_text(given.answers, text)
                say(given.answers, "")
        say(given.notes, f"These are {len(shown.data)} of {shown.num_users} users.")
    if not shown.complete:
        raise typer.Exit(NOT_ALL_THERE)


def _parts(user: "PreviewedUser") -> list[tuple[str, str]]:
    parts = [(f"{user.user_id}:", user.prompt or "")]
    if user.text is not None:
        parts.append((f"{user.user_id}, the text:", user.text))
    if user.unguided_text is not None:
        parts.append((f"{user.user_id}, unguided:", user.unguided_text))
    if user.error is not None:
        parts.append((f"{user.user_id}, not there:", f"[{user.error.code}] {user.error.message}"))
    return [part for part in parts if part[1]]
