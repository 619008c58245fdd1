"""Signing in by API key, on a page of its own or in a dialog of the page that was open when a session ended."""

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api.dashboard.kept_forms import KeptForm, kept_in
from api.dashboard.rendering import PageRoute, is_of_script, page, see_other
from api.dashboard.security import refuse_foreign_origin
from api.dashboard.sessions import COOKIE, AnyViewer, Viewer, form_of, local_path, viewer_of_token
from api.http.addresses import root_of
from api.http.admission import Lane
from api.http.dependencies import Services, ServicesDep
from api.http.errors import ApiError, TooManyRequestsError, UnauthorizedError
from db.queries import dashboard_sessions
from db.session import Database

MAX_KEY_CHARACTERS = 512
MAX_FAILURES = 10
FAILURE_SECONDS = 60.0
"""So many wrong keys are taken from one address in so long."""
MAX_ADDRESSES = 10_000
NOBODY = uuid.UUID(int=0)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Failures:
    """How many wrong keys came lately, by address. To be used on one event loop."""

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
        """Count one more wrong key from this address."""
        if len(self._failures) >= MAX_ADDRESSES:
            self._failures.clear()
        self._failures[address] = [*self._lately(address), time.monotonic()]

    def _lately(self, address: str) -> list[float]:
        since = time.monotonic() - FAILURE_SECONDS
        return [moment for moment in self._failures.get(address, ()) if moment > since]


@router.get("/sign-in")
async def sign_in_page(request: Request, next_: Annotated[str, Query(alias="next", max_length=512)] = "/") -> Response:
    """The page to sign in, which goes on at `next`."""
    return page(request, "sign_in.html", next=local_path(next_), kept=None)


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Begin a session by the key in the form; then go where the visitor wanted to, or stay where a script asks."""
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
        return _refused(request, error, target, kept)
    except UnauthorizedError:
        failures.add(address)
        return _refused(request, UnauthorizedError("This API key is unknown, expired or revoked."), target, kept)
    response = await _welcome(request, token, target, kept)
    response.set_cookie(
        COOKIE,
        token,
        path=f"{root_of(request)}/",
        max_age=int(dashboard_sessions.LIFE_SECONDS),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@router.get("/session")
async def session(viewer: AnyViewer) -> Response:
    """Who is signed in, for the page's script: what was typed is sent only once it is known that it will be taken."""
    return _told(viewer)


@router.post("/sign-out")
async def sign_out(request: Request, viewer: AnyViewer, services: ServicesDep) -> Response:
    """End the session, here and in the browser."""
    del viewer
    await run_in_threadpool(_end, services.database, request.cookies[COOKIE])
    response = see_other(request, "/sign-in")
    response.delete_cookie(COOKIE, path=f"{root_of(request)}/")
    return response


def _told(viewer: Viewer) -> Response:
    """What a page has to know of its session, which may be another one than when it was loaded."""
    return JSONResponse({"csrf": viewer.csrf, "tenant": viewer.tenant, "key_name": viewer.key_name})


async def _welcome(request: Request, token: str, target: str, kept: KeptForm | None) -> Response:
    """What follows on signing in: the page that was wanted, the form that was kept, or the page that is still open."""
    if not is_of_script(request) and kept is None:
        return see_other(request, target)
    viewer = await viewer_of_token(request, token)
    if is_of_script(request):
        return _told(viewer)
    return page(request, "kept_form.html", kept=kept, path=local_path(kept.path if kept else "/"), csrf=viewer.csrf)


def _refused(request: Request, error: ApiError, target: str, kept: KeptForm | None) -> Response:
    if is_of_script(request):
        return JSONResponse({"error": error.detail}, status_code=error.status, headers=error.headers)
    shown = page(request, "sign_in.html", next=target, kept=kept, error=error.detail, status_code=error.status)
    shown.headers.update(error.headers)
    return shown


async def _begin(services: Services, key: str) -> str:
    """Begin a session by a key; returns its token. A few keys are looked up at a time; raises `UnauthorizedError`."""
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
