"""`padserve keys ...`: API keys, made in the database itself. The only commands that do not go through the API."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, cast

import typer
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from db.models import ApiKey, Tenant
from db.queries import keys
from db.session import Database
from padserve import database
from padserve.cli_options import AsJson
from padserve.context import CommandContext, context_of
from padserve.display import say, show, show_json, show_table
from padserve.errors import PadserveError
from padserve.home import Home

DEFAULT_TENANT = "default"
ALL_BUT_ADMIN = "all but admin"
NO_KEY = "There is no active key {key}: `padserve keys list` shows what there is."
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
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    given = context_of(context)
    expires_at = None if days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    scopes = scope or [each for each in Scope if each is not Scope.ADMIN]
    with _database(given) as opened, opened.transaction() as session:
        owner = keys.create_tenant(session, tenant)
        key, text = keys.create_key(session, owner.id, name, scopes, expires_at=expires_at)
        shown = _shown(key, tenant) | {"key": text}
    show(given.answers, shown, text, as_json=as_json)
    say(given.notes, "Keep it: it is stored nowhere and cannot be shown again.")


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only the keys of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List keys: never their text."""
    given = context_of(context)
    with _database(given) as opened, opened.reading() as session:
        owners = {owner.id: owner.name for owner in session.scalars(select(Tenant))}
        found = [_shown(key, owners[key.tenant_id]) for key in keys.list_keys(session)]
    listed = [key for key in found if tenant in {None, key["tenant"]}]
    if as_json:
        show_json(given.answers, listed)
    elif listed:
        columns = ("key", "tenant", "name", "state", "scopes")
        show_table(given.answers, columns, [_row(key) for key in listed])
    else:
        say(given.notes, "There are no keys.")


KeyName = Annotated[str, typer.Argument(metavar="KEY", help="As `keys list` shows it, or the key's id.")]


@app.command()
def revoke(context: typer.Context, key: KeyName) -> None:
    """End a key now."""
    given = context_of(context)
    with _database(given) as opened, opened.transaction() as session:
        if not keys.revoke_key(session, _named(session, key).id):
            raise PadserveError(NO_KEY.format(key=key))
    say(given.answers, f"{key} is revoked.")


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
    given = context_of(context)
    home = Home(given.settings.home)
    with _database(given) as opened, opened.transaction() as session:
        old = _named(session, key)
        made, text = keys.create_key(session, old.tenant_id, old.name, old.scopes, expires_at=_as_long_as(old))
        owner = session.scalars(select(Tenant.name).where(Tenant.id == old.tenant_id)).one()
        kept = None if home.api_key is None else keys.caller_of(session, home.api_key)
        is_of_home = kept is not None and kept.id == old.id
        if grace_hours:
            ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=grace_hours)
            old.expires_at = ends_at if old.expires_at is None else min(old.expires_at, ends_at)
        else:
            keys.revoke_key(session, old.id)
        shown = _shown(made, owner) | {"key": text}
    if is_of_home:
        home.keep_api_key(text)
        say(given.notes, f"It is kept in {home.api_key_file}.")
    show(given.answers, shown, text, as_json=as_json)
    ending = f"ends in {grace_hours:g} hours" if grace_hours else "is revoked"
    say(given.notes, f"Keep it: it cannot be shown again. {key} {ending}.")


def _as_long_as(old: ApiKey) -> dt.datetime | None:
    """When a key made now ends, if it is to live as long as another was to."""
    return None if old.expires_at is None else dt.datetime.now(dt.UTC) + (old.expires_at - old.created_at)


def _named(session: Session, text: str) -> ApiKey:
    """The active key of this prefix or id."""
    active = [key for key in keys.list_keys(session) if key.revoked_at is None]
    found = [key for key in active if text in {key.prefix, str(key.id)}]
    if len(found) != 1 or not text:
        raise PadserveError(NO_KEY.format(key=text))
    return found[0]


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


def _shown(key: ApiKey, tenant: str) -> dict[str, object]:
    """A key without its text."""
    state = "active"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None:
        state = "active" if key.expires_at > dt.datetime.now(dt.UTC) else "expired"
    return {
        "id": str(key.id),
        "prefix": key.prefix,
        "tenant": tenant,
        "name": key.name,
        "scopes": list(key.scopes),
        "state": state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }


def _row(key: dict[str, object]) -> tuple[str, ...]:
    """Of a key that was chosen there is no prefix: then it is the id that names it."""
    scopes = [str(scope) for scope in cast("list[str]", key["scopes"])]
    short = ALL_BUT_ADMIN if set(scopes) == set(Scope) - {Scope.ADMIN} else ", ".join(scopes)
    ends = key["expires_at"] if key["state"] == "active" else None
    state = f"to {ends:%Y-%m-%d}" if isinstance(ends, dt.datetime) else str(key["state"])
    return str(key["prefix"] or key["id"]), str(key["tenant"]), str(key["name"]), state, short
