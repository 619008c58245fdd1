"""Who is signed in: the holder of a random token in a cookie that no script can read (`api.dashboard.sign_in`).

A page asks for `Viewer` through `signed_in`, which also refuses forms from elsewhere and keys without the scope.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import structlog
from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import FormData

from api.dashboard.kept_forms import KeptForm, SessionEndedError, kept_of
from api.dashboard.security import CSRF_FIELD, CSRF_HEADER, refuse_foreign_origin, refuse_wrong_token
from api.http.addresses import path_in
from api.http.coalescing import Coalescer
from api.http.dependencies import Caller, Scope, Services
from api.http.errors import (
    BodyTooLargeError,
    ForbiddenError,
    MalformedBodyError,
    UnauthorizedError,
)
from db.faults import describe, is_passing
from db.queries import dashboard_sessions
from db.session import Database

COOKIE = "padserve_session"
MAX_FORM_BYTES = 2**20
MULTIPART_OVERHEAD_BYTES = 2**16
MAX_FIELDS = 2000
MULTIPART = "multipart/form-data"

log = structlog.get_logger(__name__)


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


def signed_in(scope: Scope | None = None) -> Callable[..., Awaitable[Viewer]]:
    """A dependency: who is signed in, with a key that allows `scope`; any key without one.

    Raises `UnauthorizedError` where nobody is, and `ForeignFormError` where a form was not sent from a page of theirs.
    """

    async def viewer_of(request: Request) -> Viewer:
        is_form = request.method not in {"GET", "HEAD"}
        if is_form:
            refuse_foreign_origin(request)
        try:
            viewer = await viewer_of_session(request)
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
    """The form of this request, to be offered again; None where it is larger than what a stranger may send."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_FORM_BYTES:
        return None
    return kept_of(path_in(request.scope), await form_of(request))


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


def local_path(text: str) -> str:
    """The path where it is one of ours; else the first page. What browsers read as another host is not."""
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours else "/"


async def viewer_of_session(request: Request) -> Viewer:
    """Whose session the request's cookie is; raises `UnauthorizedError` where it is nobody's any more."""
    return await viewer_of_token(request, request.cookies.get(COOKIE) or "")


async def viewer_of_token(request: Request, token: str) -> Viewer:
    """Who is signed in by this token; raises `UnauthorizedError` where nobody is."""
    visits: Coalescer[str, dashboard_sessions.SignedIn | None] = request.app.state.dashboard_visits
    found = await visits.ask(token) if token else None
    if found is None:
        raise UnauthorizedError
    caller = Caller(found.tenant_id, found.key_id, frozenset(map(Scope, found.scopes)))
    return Viewer(caller, found.key_name, found.tenant, found.csrf_secret)


def visits_in(database: Database) -> Coalescer[str, dashboard_sessions.SignedIn | None]:
    """Who is signed in, by token: the open pages of a session that are woken together share one look."""
    return Coalescer(partial(_found, database))


def _found(database: Database, token: str) -> dashboard_sessions.SignedIn | None:
    with database.reading() as session:
        found = dashboard_sessions.find(session, token)
    if found is not None and found.must_be_noted:
        _note_seen(database, token)
    return found


def _note_seen(database: Database, token: str) -> None:
    """Note that the session is used. Where the database can only be read just now, that is passed over."""
    try:
        with database.transaction() as session:
            dashboard_sessions.note_seen(session, token)
    except SQLAlchemyError as error:
        if not is_passing(error):
            raise
        log.warning("session_not_noted", **describe(error))
