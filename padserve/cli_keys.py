"""`padserve keys ...`: API keys, made in the database itself. The only commands that do not go through the API."""

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError, ProgrammingError

from db.models import ApiKey
from db.queries import keys
from db.session import Database
from padserve import database
from padserve.context import CommandContext, context_of
from padserve.display import say, show_table
from padserve.errors import PadserveError
from padserve.home import Home

DEFAULT_TENANT = "default"
NO_DATABASE = "There is no database in {home} yet: run `padserve up` once, or set PADSERVE_DATABASE_URL."
NOT_MIGRATED = "The database has no tables yet: run `python -m db upgrade`."

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
) -> None:
    """Make a key and show it, this once."""
    given = context_of(context)
    expires_at = None if days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    scopes = scope or [each for each in Scope if each is not Scope.ADMIN]
    with _database(given) as opened, opened.transaction() as session:
        owner = keys.create_tenant(session, tenant)
        _, text = keys.create_key(session, owner.id, name, scopes, expires_at=expires_at)
    say(given.answers, text)
    say(given.notes, "Keep it: it is stored nowhere and cannot be shown again.")


@app.command("list")
def list_(context: typer.Context) -> None:
    """List keys: never their text."""
    given = context_of(context)
    with _database(given) as opened, opened.reading() as session:
        rows = [_row(key) for key in keys.list_keys(session)]
    if rows:
        show_table(given.answers, ("id", "name", "prefix", "scopes", "created", "state"), rows)
    else:
        say(given.notes, "There are no keys.")


@app.command()
def revoke(
    context: typer.Context, key_id: Annotated[uuid.UUID, typer.Argument(metavar="ID", help="The key's id.")]
) -> None:
    """End a key now."""
    given = context_of(context)
    with _database(given) as opened, opened.transaction() as session:
        if not keys.revoke_key(session, key_id):
            raise PadserveError(f"There is no active key with the id {key_id}.")
    say(given.answers, f"{key_id} is revoked.")


@contextmanager
def _database(given: CommandContext) -> Iterator[Database]:
    home = Home(given.settings.home)
    if given.settings.database_url is None and not home.database.exists():
        raise PadserveError(NO_DATABASE.format(home=home.path))
    try:
        with database.opened(given.settings.database_url or home.database_url) as opened:
            yield opened
    except (OperationalError, ProgrammingError) as error:
        raise PadserveError(NOT_MIGRATED) from error


def _row(key: ApiKey) -> tuple[str, ...]:
    now = dt.datetime.now(dt.UTC)
    state = "active"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None:
        state = f"ends {key.expires_at:%Y-%m-%d}" if key.expires_at > now else "expired"
    return str(key.id), key.name, key.prefix, ", ".join(key.scopes), f"{key.created_at:%Y-%m-%d}", state
