"""The dashboard's routes together, as the application includes them. A new group of pages is one line more here."""

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from api.dashboard import (
    account,
    health,
    history,
    job,
    jobs,
    live,
    new_job,
    preview,
    profiles,
    sessions,
    sign_in,
    strength,
    teaching,
    unguided,
)
from api.dashboard.pulse import pulse_in
from api.dashboard.rendering import HTMX_PATH, STATIC, STATIC_PATH, failure
from api.dashboard.security import protect
from api.http.dependencies import Services
from api.http.errors import NotFoundError

GROUPS = (sign_in, jobs, new_job, job, unguided, profiles, history, preview, teaching, strength, health, account)


class Assets(StaticFiles):
    """Files that a browser may keep: whenever one changes, so does its address."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file at this path, to be kept for a week."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=604800"
        return response


class NotFoundPage:
    """What answers where no route does: a page for a browser that was led there, and for others what did before."""

    def __init__(self, otherwise: ASGIApp) -> None:
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that no route is for."""
        if scope["type"] == "http" and scope["method"] == "GET":
            request = Request(scope, receive)
            if "text/html" in request.headers.get("accept", ""):
                await protect(failure(request, NotFoundError()))(scope, receive, send)
                return
        await self._otherwise(scope, receive, send)


def install(app: FastAPI) -> None:
    """Add the pages to the application."""
    app.mount(HTMX_PATH, Assets(packages=[("js_lib_htmx", "static/htmx")]))
    app.mount(STATIC_PATH, Assets(directory=STATIC))
    app.router.default = NotFoundPage(app.router.default)
    for group in GROUPS:
        app.include_router(group.router)


def new_state(services: Services) -> dict[str, object]:
    """What the pages find in the application's state, by its name there."""
    return {
        "dashboard_failures": sign_in.Failures(),
        "dashboard_streams": live.Streams(),
        "dashboard_visits": sessions.visits_in(services.database),
        "dashboard_pulse": pulse_in(services.database, lambda: services.listeners.is_stopping),
        "dashboard_lists": jobs.lists_in(services),
        "dashboard_progress": job.progress_in(services),
        "dashboard_health": health.health_in(services),
    }
