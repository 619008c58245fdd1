"""`padserve keys ...`: API keys, made in the database itself. The only commands that do not go through the API."""

import datetime as dt
from enum import StrEnum
from typing import Annotated, cast

import typer

from padserve.cli.context import context_of
from padserve.cli.display import say, show, show_json, show_table
from padserve.cli.options import AsJson

DEFAULT_TENANT = "default"
ALL_BUT_ADMIN = "all but admin"

app = typer.Typer(help="API keys.", no_args_is_help=True, rich_markup_mode=None)


class Scope(StrEnum):
    """What a key allows. `admin` allows everything."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    PROFILES_READ = "profiles:read"
    PROFILES_WRITE = "profiles:write"
    ADMIN = "admin"


@app.command()
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "padserve keys",
    tenant: Annotated[str, typer.Option(help="Whose key it is; made if there is none of this name.")] = DEFAULT_TENANT,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it allows; may be repeated. All but admin if unsaid.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="After how many days it ends.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    from padserve.stack import stored_keys

    given = context_of(context)
    expires_at = None if days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    scopes = scope or [each for each in Scope if each is not Scope.ADMIN]
    made, text = stored_keys.create(given.settings, tenant=tenant, name=name, scopes=scopes, expires_at=expires_at)
    show(given.answers, made | {"key": text}, text, as_json=as_json)
    say(given.notes, "Keep it: it is stored nowhere and cannot be shown again.")


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only the keys of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List keys: never their text."""
    from padserve.stack import stored_keys

    given = context_of(context)
    listed = [key for key in stored_keys.list_keys(given.settings) if tenant in {None, key["tenant"]}]
    if as_json:
        show_json(given.answers, listed)
    elif listed:
        columns = ("key", "tenant", "name", "state", "scopes")
        show_table(given.answers, columns, [_row(key) for key in listed])
    else:
        say(given.notes, "There are no keys.")


KeyName = Annotated[str, typer.Argument(metavar="KEY", help="As `keys list` shows it, or the key's id.")]


@app.command()
def revoke(context: typer.Context, key: KeyName, *, as_json: AsJson = False) -> None:
    """End a key now."""
    from padserve.stack import stored_keys

    given = context_of(context)
    show(given.answers, stored_keys.revoke(given.settings, key), f"{key} is revoked.", as_json=as_json)


@app.command()
def rotate(
    context: typer.Context,
    key: KeyName,
    *,
    grace_hours: Annotated[
        float, typer.Option("--grace", min=0, metavar="HOURS", help="How long the old one stays valid beside it.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Put a new key in the place of one: same tenant, name and scopes. It is shown this once."""
    from padserve.stack import stored_keys

    given = context_of(context)
    made, text, home = stored_keys.rotate(given.settings, key, grace=dt.timedelta(hours=grace_hours))
    if home is not None:
        say(given.notes, f"It is kept in {home.api_key_file}.")
    show(given.answers, made | {"key": text}, text, as_json=as_json)
    ending = f"ends in {grace_hours:g} hours" if grace_hours else "is revoked"
    say(given.notes, f"Keep it: it cannot be shown again. {key} {ending}.")


def _row(key: dict[str, object]) -> tuple[str, ...]:
    """A key as a row of the table; one with a chosen text has no prefix, and is named by its id."""
    scopes = [str(scope) for scope in cast("list[str]", key["scopes"])]
    short = ALL_BUT_ADMIN if set(scopes) == set(Scope) - {Scope.ADMIN} else ", ".join(scopes)
    ends = key["expires_at"] if key["state"] == "active" else None
    state = f"to {ends:%Y-%m-%d}" if isinstance(ends, dt.datetime) else str(key["state"])
    return str(key["prefix"] or key["id"]), str(key["tenant"]), str(key["name"]), state, short
