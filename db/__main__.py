"""`python -m db`: migrate the database, manage API keys and weigh tenants. Works on PADSERVE_DATABASE_URL."""

import argparse
import datetime as dt
import math
import os
import sys
import uuid

from db import schema
from db.queries import keys
from db.session import Database, DatabaseUnreachableError
from domain.states import UnknownUsers

DEFAULT = "default"
SCOPES = ("jobs:read", "jobs:write", "profiles:read", "profiles:write", "admin")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = parser().parse_args(arguments)
    url = os.environ.get("PADSERVE_DATABASE_URL")
    if not url:
        return refuse("PADSERVE_DATABASE_URL is not set.")
    try:
        database = Database(url)
        database.check()
    except DatabaseUnreachableError as error:
        return refuse(str(error))
    try:
        return run(database, given)
    finally:
        database.dispose()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m db", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade", help="bring the schema to the newest version")
    commands.add_parser("check", help="exit 0 if the database answers and its schema is current")
    create = commands.add_parser("create-key", help="make an API key and print it, once")
    create.add_argument("--tenant", default="default", help="whose key; made if it does not exist")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--scope", action="append", choices=SCOPES, help="repeat for several; everything but admin")
    create.add_argument("--days", type=float, help="how long it is valid; for ever if not given")
    commands.add_parser("list-keys", help="every key there is, without its text")
    revoke = commands.add_parser("revoke-key", help="end a key at once")
    revoke.add_argument("id", type=uuid.UUID, help="as list-keys shows it")
    weigh = commands.add_parser("set-weight", help="set a tenant's share of the workers; 1 unless set")
    weigh.add_argument("--tenant", default="default", help="whose share")
    weigh.add_argument("weight", type=float, help="2 gets twice what 1 gets, while both have work")
    unknown = commands.add_parser("set-unknown-users", help="what vendors' clients get for users without a profile")
    unknown.add_argument("--tenant", default="default", help="whose requests")
    unknown.add_argument("choice", choices=[*UnknownUsers, DEFAULT], help="`default`: as PADSERVE_UNKNOWN_USERS says")
    return top


def run(database: Database, given: argparse.Namespace) -> int:
    """Do what the command line says."""
    match given.command:
        case "upgrade":
            schema.upgrade(database)
            say("The schema is current.")
        case "check":
            return check(database)
        case "create-key":
            create_key(database, given)
        case "list-keys":
            list_keys(database)
        case "revoke-key":
            return revoke_key(database, given.id)
        case "set-weight":
            return set_weight(database, given.tenant, given.weight)
        case "set-unknown-users":
            return set_unknown_users(database, given.tenant, given.choice)
    return 0


def check(database: Database) -> int:
    """Say whether every migration has been applied."""
    with database.engine.connect() as connection:
        if schema.is_current(connection):
            say("The database answers and its schema is current.")
            return 0
    return refuse("The schema is not current: run `python -m db upgrade`.")


def create_key(database: Database, given: argparse.Namespace) -> None:
    """Make a key and print its text: this is the only time it is known."""
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(days=given.days) if given.days else None
    with database.transaction() as session:
        tenant = keys.create_tenant(session, given.tenant)
        scopes = given.scope or [scope for scope in SCOPES if scope != "admin"]
        _, text = keys.create_key(session, tenant.id, given.name, scopes, expires_at=expires_at)
    say(text)


def list_keys(database: Database) -> None:
    """Print one line per key."""
    with database.reading() as session:
        for key in keys.list_keys(session):
            state = (
                "revoked" if key.revoked_at else "expires " + key.expires_at.isoformat() if key.expires_at else "valid"
            )
            say(f"{key.id}  pad_{key.prefix}_…  {key.name}  {','.join(key.scopes)}  {state}")


def revoke_key(database: Database, key_id: uuid.UUID) -> int:
    """End a key."""
    with database.transaction() as session:
        revoked = keys.revoke_key(session, key_id)
    if not revoked:
        return refuse("There is no such key, or it was revoked before.")
    say("Revoked.")
    return 0


def set_weight(database: Database, tenant: str, weight: float) -> int:
    """Change a tenant's share."""
    if not 0 < weight < math.inf:
        return refuse("A weight is a number above 0.")
    with database.transaction() as session:
        found = keys.set_weight(session, tenant, weight)
    if not found:
        return refuse("There is no such tenant.")
    say(f"{tenant} has the weight {weight:g}.")
    return 0


def set_unknown_users(database: Database, tenant: str, choice: str) -> int:
    """Change what a tenant's requests for users without a profile become."""
    with database.transaction() as session:
        found = keys.set_unknown_users(session, tenant, None if choice == DEFAULT else UnknownUsers(choice))
    if not found:
        return refuse("There is no such tenant.")
    say(f"{tenant}: {choice}.")
    return 0


def say(line: str) -> None:
    """Print the answer."""
    sys.stdout.write(line + "\n")


def refuse(message: str) -> int:
    """Print why not."""
    sys.stderr.write(f"padserve db: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
