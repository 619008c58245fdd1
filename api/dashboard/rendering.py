"""From values to pages: the templates with everything escaped, and the route class that shows failures as pages."""

import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.dashboard import formats
from api.dashboard.kept_forms import SessionEndedError, is_too_large_to_keep
from api.dashboard.security import protect
from api.http.addresses import path_in, root_of
from api.http.dependencies import Scope
from api.http.errors import ApiError, NotFoundError, UnauthorizedError, UnavailableError
from api.http.problems import DATABASE_ERRORS, from_fastapi, log_unexpected

STATIC = Path(__file__).parent / "static"
STATIC_PATH = "/assets"
HTMX_PATH = f"{STATIC_PATH}/htmx"
THEME_COOKIE = "padserve_theme"
THEMES = ("light", "dark")
SEE_OTHER = 303
EVENT_STREAM = "text/event-stream"
SESSION_ENDED = "Your session has ended. Sign in, and what you have just sent is offered again."
NOT_KEPT = (
    "Your session has ended, and what you have just sent is too large to be kept: sign in, go back, and send it again."
)


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the menu; `name` is what its pages call themselves, and `scope` what a key needs to see it."""

    name: str
    path: str
    label: str
    scope: Scope | None = None


SECTIONS = (
    Section("jobs", "/", "Jobs", Scope.JOBS_READ),
    Section("new", "/jobs/new", "New job", Scope.JOBS_WRITE),
    Section("profiles", "/profiles", "Profiles", Scope.PROFILES_READ),
    Section("strength", "/strength", "Strength", Scope.JOBS_WRITE),
    Section("models", "/models", "Models & health"),
    Section("account", "/account", "Keys & webhooks"),
)


@cache
def templates() -> Environment:
    """The environment of all templates. Everything that goes into a page is escaped; what is not given is an error."""
    environment = Environment(
        loader=PackageLoader("api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formats.FILTERS)
    environment.globals.update(asset=asset, sections=SECTIONS, htmx_path=HTMX_PATH)
    return environment


def page(request: Request, template: str, *, viewer: object = None, status_code: int = 200, **values: Any) -> Response:  # noqa: ANN401 - whatever the template shows
    """A response of a rendered template, a whole page or a part of one."""
    return HTMLResponse(render(request, template, viewer=viewer, **values), status_code=status_code)


def version_of(html: str) -> str:
    """A short name of what a part says: equal for equal HTML."""
    return hashlib.sha256(html.encode()).hexdigest()[:16]


def render(request: Request, template: str, *, viewer: object = None, **values: Any) -> str:  # noqa: ANN401 - as above
    """The template as HTML, with its values and with what every page has."""
    theme = request.cookies.get(THEME_COOKIE)
    given = {"root": root_of(request), "theme": theme if theme in THEMES else None, "viewer": viewer, "section": None}
    return templates().get_template(template).render({**given, **values})


def see_other(request: Request, path: str) -> Response:
    """Go on at `path`, which is one of ours. A request of the page's script is told so in its own way."""
    target = root_of(request) + path
    if is_of_script(request):
        return Response(status_code=200, headers={"HX-Redirect": target})
    return RedirectResponse(target, status_code=SEE_OTHER)


def done(request: Request, message: str, path: str) -> Response:
    """Say that something was done: a script shows the message and asks anew for what is live; else go on at `path`."""
    if not is_of_script(request):
        return see_other(request, path)
    return Response(status_code=204, headers={"HX-Trigger": json.dumps({"changed": None, "say": message})})


def is_of_script(request: Request) -> bool:
    """Whether the page's script asks, and not the browser for a page."""
    return request.headers.get("hx-request") == "true"


def wants_stream(request: Request) -> bool:
    """Whether an `EventSource` of the page's script asks, which reads neither pages nor statuses."""
    return EVENT_STREAM in request.headers.get("accept", "")


def no_stream() -> Response:
    """Tells an `EventSource` not to come back: the script asks for the part itself then, and is told why."""
    return Response(status_code=204)


@cache
def asset(name: str) -> str:
    """The address of a static file, another one whenever the file is."""
    return f"{STATIC_PATH}/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


class PageRoute(APIRoute):
    """A route that answers with a page, also where it fails. Nobody signed in: the page to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of a request, wrapped so that every error becomes a page."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return protect(await handle(request))
            except UnauthorizedError as error:
                return protect(_to_sign_in(request, error))
            except ApiError as error:
                return protect(failure(request, error))
            except RequestValidationError as error:
                return protect(failure(request, from_fastapi(error.errors())))
            except DATABASE_ERRORS as error:
                log_unexpected("database_unavailable", error)
                return protect(failure(request, UnavailableError()))
            except HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - people get a page, whatever happened
                log_unexpected("page_failed", error)
                return protect(failure(request, ApiError()))
            finally:
                await request.close()

        return answer


def _to_sign_in(request: Request, error: UnauthorizedError) -> Response:
    if wants_stream(request):
        return no_stream()
    if isinstance(error, SessionEndedError) and request.method != "GET":
        if is_of_script(request):  # which has the form still, and asks to sign in beside it
            return Response(status_code=error.status)
        told = SESSION_ENDED if error.kept is not None else NOT_KEPT if is_too_large_to_keep(request) else None
        if told is not None:
            return page(request, "sign_in.html", status_code=error.status, next="/", kept=error.kept, error=told)
    path = path_in(request.scope)
    if request.method != "GET" or path == "/" or is_of_script(request):
        return see_other(request, "/sign-in")
    target = f"{path}?{request.url.query}" if request.url.query else path
    return see_other(request, f"/sign-in?next={quote(target)}")


def failure(request: Request, error: ApiError) -> Response:
    """A page that says what went wrong; for the page's script a sentence."""
    if wants_stream(request):
        return no_stream()
    headers: Mapping[str, str] = {name: value for name, value in error.headers.items() if name != "WWW-Authenticate"}
    if is_of_script(request) and request.method == "GET" and isinstance(error, NotFoundError):
        return see_other(request, "/")  # what an open page shows was deleted
    if is_of_script(request):
        said = {"say": _sentence(error)}
        return Response(status_code=error.status, headers={**headers, "HX-Trigger": json.dumps(said)})
    html = render(request, "failure.html", error=error)
    return HTMLResponse(html, status_code=error.status, headers=dict(headers))


def _sentence(error: ApiError) -> str:
    return formats.told(error.errors[0]) if error.errors else error.detail
