"""Signing in by API key, and who is signed in: a random token in a cookie that no script can read.

A page asks for `Viewer` through `signed_in`, which also refuses forms from elsewhere and keys without the scope.
"""

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from api.dashboard.kept_forms import KeptForm, SessionEndedError, kept_in, kept_of
from api.dashboard.rendering import PageRoute, page, root_of, see_other
from api.dashboard.security import CSRF_FIELD, CSRF_HEADER, refuse_foreign_origin, refuse_wrong_token
from api.http.admission import Lane
from api.http.dependencies import Caller, Scope, Services, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    ForbiddenError,
    MalformedBodyError,
    TooManyRequestsError,
    UnauthorizedError,
)
from db.faults import describe, is_passing
from db.queries import dashboard_sessions
from db.session import Database

COOKIE = "padserve_session"
MAX_FORM_BYTES = 2**20
MULTIPART_OVERHEAD_BYTES = 2**16
MAX_FIELDS = 2000
MAX_KEY_CHARACTERS = 512
MAX_FAILURES = 10
FAILURE_SECONDS = 60.0
"""So many wrong keys are taken from one address in so long."""
MAX_ADDRESSES = 10_000
NOBODY = uuid.UUID(int=0)
MULTIPART = "multipart/form-data"

log = structlog.get_logger(__name__)
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page: a key's caller, as the API's functions take it."""

    caller: Caller
    key_name: str
    tenant: str
    csrf: str

    def may(self, scope: str) -> bool:
        """Whether the key allows this."""
        return self.caller.may(Scope(scope))


class Failures:
    """How many wrong keys came lately, by address. Of one event loop."""

    def __init__(self) -> None:
        self._failures: dict[str, list[float]] = {}

    def refuse_many(self, address: str) -> None:
        """Raise `TooManyRequestsError` where the address has just given too many wrong keys."""
        lately = self._lately(address)
        if len(lately) >= MAX_FAILURES:
            seconds = int(FAILURE_SECONDS - (time.monotonic() - lately[0])) + 1
            message = f"Too many wrong keys: try again in {seconds} seconds."
            raise TooManyRequestsError(message, headers={"Retry-After": str(seconds)})

    def add(self, address: str) -> None:
        """One more."""
        if len(self._failures) >= MAX_ADDRESSES:
            self._failures.clear()
        self._failures[address] = [*self._lately(address), time.monotonic()]

    def _lately(self, address: str) -> list[float]:
        since = time.monotonic() - FAILURE_SECONDS
        return [moment for moment in self._failures.get(address, ()) if moment > since]


def signed_in(scope: Scope | None = None) -> Callable[..., Awaitable[Viewer]]:
    """A dependency: who is signed in, with a key that allows `scope`; any key without one.

    Raises `UnauthorizedError` where nobody is, and `ForeignFormError` where a form was not sent from a page of theirs.
    """

    async def viewer_of(request: Request, services: ServicesDep) -> Viewer:
        is_form = request.method not in {"GET", "HEAD"}
        if is_form:
            refuse_foreign_origin(request)
        try:
            viewer = await viewer_of_session(request, services)
        except UnauthorizedError:
            raise SessionEndedError(await _kept(request) if is_form else None) from None
        if is_form:
            given = request.headers.get(CSRF_HEADER) or (await form_of(request)).get(CSRF_FIELD)
            refuse_wrong_token(given, viewer.csrf)
        if scope is not None and not viewer.caller.may(scope):
            raise ForbiddenError(f"The API key that you are signed in with lacks the scope `{scope}`.")
        return viewer

    return viewer_of


async def _kept(request: Request) -> KeptForm | None:
    """Of a form that is no larger than one of those that anybody may send."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_FORM_BYTES:
        return None
    return kept_of(request.url.path.removeprefix(root_of(request)), await form_of(request))


AnyViewer = Annotated[Viewer, Depends(signed_in())]
JobsReader = Annotated[Viewer, Depends(signed_in(Scope.JOBS_READ))]
JobsWriter = Annotated[Viewer, Depends(signed_in(Scope.JOBS_WRITE))]
ProfilesReader = Annotated[Viewer, Depends(signed_in(Scope.PROFILES_READ))]
ProfilesWriter = Annotated[Viewer, Depends(signed_in(Scope.PROFILES_WRITE))]


async def form_of(request: Request) -> FormData:
    """The form that was sent; asked for again, the same. Raises `BodyTooLargeError` before anything of it is read."""
    services: Services = request.app.state.services
    is_upload = request.headers.get("content-type", "").startswith(MULTIPART)
    most = services.settings.max_body_bytes + MULTIPART_OVERHEAD_BYTES if is_upload else MAX_FORM_BYTES
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise MalformedBodyError("A form has to say its length.")
    if int(length) > most:
        raise BodyTooLargeError(f"The form is larger than {most} bytes.")
    return await request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=services.settings.max_json_bytes)


Form = Annotated[FormData, Depends(form_of)]


@router.get("/sign-in")
async def sign_in_page(request: Request, next_: Annotated[str, Query(alias="next", max_length=512)] = "/") -> Response:
    """Where to paste a key."""
    return page(request, "sign_in.html", next=local_path(next_), kept=None)


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Begin a session by the key in the form; then go where the visitor wanted to."""
    refuse_foreign_origin(request)
    address = request.client.host if request.client else ""
    failures: Failures = request.app.state.dashboard_failures
    form = await form_of(request)
    target = local_path(str(form.get("next") or "/"))
    kept = kept_in(form)
    try:
        failures.refuse_many(address)
        token = await _begin(services, str(form.get("key") or "").strip())
    except TooManyRequestsError as error:
        refused = page(request, "sign_in.html", next=target, kept=kept, error=error.detail, status_code=error.status)
        refused.headers.update(error.headers)
        return refused
    except UnauthorizedError:
        failures.add(address)
        error_text = "This API key is unknown, expired or revoked."
        return page(
            request, "sign_in.html", next=target, kept=kept, error=error_text, status_code=UnauthorizedError.status
        )
    response = see_other(request, target) if kept is None else await _offered(request, services, token, kept)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(dashboard_sessions.LIFE_SECONDS),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/sign-out")
async def sign_out(request: Request, viewer: AnyViewer, services: ServicesDep) -> Response:
    """End the session, here and in the browser."""
    del viewer
    await run_in_threadpool(_end, services.database, request.cookies[COOKIE])
    response = see_other(request, "/sign-in")
    response.delete_cookie(COOKIE)
    return response


def local_path(text: str) -> str:
    """The path where it is one of ours; else the first page. What browsers read as another host is not."""
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours else "/"


async def _offered(request: Request, services: Services, token: str, kept: KeptForm) -> Response:
    """The form that was kept, to be sent by the session that has just begun."""
    found = await run_in_threadpool(_found, services.database, token)
    if found is None:
        raise UnauthorizedError
    return page(request, "kept_form.html", kept=kept, path=local_path(kept.path), csrf=found.csrf_secret)


async def _begin(services: Services, key: str) -> str:
    """Looked up as the API does, and a few at a time."""
    if not key or len(key) > MAX_KEY_CHARACTERS:
        raise UnauthorizedError
    async with _LANE.slot(NOBODY):
        caller = await services.callers.ask(key)
    if caller is None:
        raise UnauthorizedError
    return await run_in_threadpool(_stored, services.database, caller.key_id)


_LANE = Lane(most_of_tenant=4, most=4, patience_seconds=10.0)


def _stored(database: Database, key_id: uuid.UUID) -> str:
    with database.transaction() as session:
        return dashboard_sessions.begin(session, key_id)


def _end(database: Database, token: str) -> None:
    with database.transaction() as session:
        dashboard_sessions.end(session, token)


async def viewer_of_session(request: Request, services: Services) -> Viewer:
    """Whose session the request's cookie is; raises `UnauthorizedError` where it is nobody's any more."""
    token = request.cookies.get(COOKIE)
    if not token:
        raise UnauthorizedError
    found = await run_in_threadpool(_found, services.database, token)
    if found is None:
        raise UnauthorizedError
    caller = Caller(found.tenant_id, found.key_id, frozenset(map(Scope, found.scopes)))
    return Viewer(caller, found.key_name, found.tenant, found.csrf_secret)


def _found(database: Database, token: str) -> dashboard_sessions.SignedIn | None:
    with database.reading() as session:
        found = dashboard_sessions.find(session, token)
    if found is not None and found.must_be_noted:
        _note_seen(database, token)
    return found


def _note_seen(database: Database, token: str) -> None:
    """A database that can only be read just now is read."""
    try:
        with database.transaction() as session:
            dashboard_sessions.note_seen(session, token)
    except SQLAlchemyError as error:
        if not is_passing(error):
            raise
        log.warning("session_not_noted", **describe(error))
