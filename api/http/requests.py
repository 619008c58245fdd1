"""Around every request: an id, one log line, and a last net for what nobody caught.

The log line holds the route's template, not the path that was asked for: paths name users.
"""

import re
import time
import uuid
from typing import TYPE_CHECKING

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.anthropic import failures
from api.documentation import ASSETS_PATH
from api.http.addresses import path_in
from api.http.errors import ApiError
from api.http.problems import log_unexpected, problem_response
from telemetry import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

REQUEST_ID_HEADER = "X-Request-ID"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Names, logs and guards each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a request its id, log its end, and answer 500 where nobody caught an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        is_asset = path_in(scope).startswith(ASSETS_PATH)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                _let_changes_show(scope)
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                if failures.is_spoken(scope):
                    headers[failures.REQUEST_ID_HEADER] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                if not is_asset:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            tracing.request_span(scope["method"], Headers(scope=scope)) as span,
        ):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                log.info("client_disconnected", route=_route(scope))
            except Exception as error:  # noqa: BLE001 - the last net: nothing may leave with a message in it
                log_unexpected("request_failed", error)
                if not status:
                    await problem_response(Request(scope, receive), ApiError())(scope, receive, send_with_id)
            route, seconds = _route(scope), time.perf_counter() - started
            if span is not None:
                _describe(span, scope["method"], route, status, request_id)
            metrics.count_request(scope["method"], route, status, seconds)
            log.info(
                "request", method=scope["method"], route=route, status=status, duration_ms=round(seconds * 1000, 1)
            )


def _let_changes_show(scope: Scope) -> None:
    """What this request has changed is committed, and whoever hears of it may ask for it."""
    if scope["method"] not in SAFE_METHODS:
        scope["app"].state.services.forget()


def _describe(span: "Span", method: str, route: str | None, status: int, request_id: str) -> None:
    span.update_name(f"{method} {route}" if route else method)
    span.set_attribute("http.route", route or "")
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("padserve.request_id", request_id)


def _request_id(headers: Headers) -> str:
    """The id a proxy in front has given, if it is one; otherwise a new one."""
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex


def _route(scope: Scope) -> str | None:
    path: str | None = getattr(scope.get("route"), "path", None)
    return path
