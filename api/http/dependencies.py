"""What endpoints ask for: the services they work with, and who is calling. Knows API keys and scopes; no resource."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry

from api.bulk import Bulk
from api.http.admission import Lanes
from api.http.coalescing import Coalescer
from api.http.crowds import Crowds
from api.http.errors import ForbiddenError, UnauthorizedError
from api.jobs.status import JobOfTenant, KeyAndJob, Status
from api.readiness import ReadinessChecks
from api.settings import Settings
from api.streams.endings import Endings
from api.streams.hearing import Ear
from api.streams.listening import Listeners
from db.queries import keys
from db.session import Database
from worker.queue import Publisher

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="padserve"'}
INVALID_TOKEN = {"WWW-Authenticate": 'Bearer realm="padserve", error="invalid_token"'}

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key of the form `pad_…`. `python -m db create-key` makes one and shows it once.",
)
key_header = APIKeyHeader(
    name="X-Api-Key", auto_error=False, scheme_name="ApiKeyHeader", description="The same key, as Anthropic has it."
)


class Scope(StrEnum):
    """What a key allows. `admin` allows everything."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    PROFILES_READ = "profiles:read"
    PROFILES_WRITE = "profiles:write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Services:
    """What the process holds for all requests."""

    settings: Settings
    database: Database
    publisher: Publisher
    readiness: ReadinessChecks
    metrics: CollectorRegistry
    lanes: Lanes
    bulk: Bulk
    statuses: Coalescer[JobOfTenant, Status]
    polled_statuses: Crowds[JobOfTenant, Status]
    """The same for whoever polls: a crowd is told what was true a moment ago."""
    plain_polls: Crowds[KeyAndJob, Status]
    """The same again, with the key's look-up in it (`api.jobs.polling`)."""
    endings: Endings
    ear: Ear
    listeners: Listeners
    callers: "Crowds[str, Caller | None]"

    def forget(self) -> None:
        """Something was changed through this process: whoever asks next is told of it, in however large a crowd."""
        self.polled_statuses.forget()
        self.plain_polls.forget()
        self.callers.forget()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as their API key says."""

    tenant_id: uuid.UUID
    key_id: uuid.UUID
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether this caller's key allows `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


async def services_of(request: Request) -> Services:
    """The services of the application that received this request. Async, so that no thread is asked for it."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


async def authenticate(
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    key: Annotated[str | None, Depends(key_header)],
) -> Caller:
    """The caller behind the key of this request, in whichever of the two headers it is."""
    given = {secret for secret in (key, credentials and credentials.credentials) if secret}
    if not given:
        raise UnauthorizedError(headers=CHALLENGE)
    if len(given) > 1:
        raise UnauthorizedError(
            "`Authorization` and `X-Api-Key` hold different API keys: send one of them.", headers=INVALID_TOKEN
        )
    return known(await services.callers.ask(given.pop()))


def known(caller: Caller | None) -> Caller:
    """The caller, where a key was found; raises `UnauthorizedError` where none was."""
    if caller is None:
        raise UnauthorizedError("This API key is unknown, expired or revoked.", headers=INVALID_TOKEN)
    return caller


def callers_in(database: Database) -> Crowds[str, Caller | None]:
    """Who is calling, by the texts of their keys. A key that a crowd uses is revoked for it within KEPT_SECONDS."""
    return Crowds(Coalescer(partial(find_caller, database)))


def find_caller(database: Database, secret: str) -> Caller | None:
    """Whose key has this text; None where it is unknown, expired or revoked."""
    with database.glancing() as session:
        key = keys.caller_of(session, secret)
    if key is None:
        return None
    return Caller(tenant_id=key.tenant_id, key_id=key.id, scopes=frozenset(map(Scope, key.scopes)))


def refuse_without(scope: Scope, caller: Caller) -> None:
    """Raise `ForbiddenError` where the caller's key does not allow `scope`."""
    if not caller.may(scope):
        raise ForbiddenError(f"This API key lacks the scope `{scope}`.")


def require(scope: Scope | None = None) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency that lets a caller with `scope` pass; without a scope, any valid key."""

    async def check(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        if scope is not None:
            refuse_without(scope, caller)
        return caller

    return check
