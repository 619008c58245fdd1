"""The plainest status poll, past the framework: `GET /v1/jobs/{id}` with a bearer key and little else to look at.

It is the one request that hundreds of clients may send every second, and the framework would spend more on its route
and its parameters than the answer takes. What it says and whom it refuses is the same: `api.jobs.routes.read_job`
serves every other form of it, and is what the OpenAPI document describes.
"""

import re
import uuid
from typing import NamedTuple

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from api.http.addresses import path_in
from api.http.bodies import JSON
from api.http.bounds import MAX_HEADER_CHARACTERS
from api.http.coalescing import Coalescer
from api.http.dependencies import Scope as KeyScope
from api.http.dependencies import Services, find_caller, known, refuse_without
from api.http.etags import preconditions_of
from api.jobs.status import KeyAndJob, Status, read_status
from db.session import Database
from worker.queue import Publisher

PATH = "/v1/jobs/{job_id}"
HEADERS_IN_THE_WAY = frozenset({b"x-api-key", b"if-match"})
_PLAIN_PATH = re.compile(r"/v1/jobs/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_PLAIN_KEY = re.compile(rb"Bearer ([!-~]+)")
_POLL = "padserve.poll"


class Poll(NamedTuple):
    """What a plain poll says."""

    job_id: uuid.UUID
    secret: str
    if_none_match: str | None


def plain_polls_in(database: Database, publisher: Publisher) -> Coalescer[KeyAndJob, Status]:
    """The answers to plain polls. Key and job are looked up in one thread: to change threads takes as long as either.

    Raises `UnauthorizedError`, `ForbiddenError` and `NotFoundError`.
    """

    def answer(asked: KeyAndJob) -> Status:
        secret, job_id = asked
        caller = known(find_caller(database, secret))
        refuse_without(KeyScope.JOBS_READ, caller)
        return read_status(database, publisher, (caller.tenant_id, job_id))

    return Coalescer(answer)


class PollRoute(BaseRoute):
    """Answers the polls that `plain_poll` understands, and leaves every other request to the routes behind it."""

    path = PATH
    """As it is counted and logged."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether this is a plain poll."""
        poll = plain_poll(scope)
        return (Match.NONE, {}) if poll is None else (Match.FULL, {"route": self, _POLL: poll})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the status; raises what the framework's route raises."""
        poll: Poll = scope[_POLL]
        services: Services = scope["app"].state.services
        status = await services.plain_polls.ask((poll.secret, poll.job_id))
        headers = [(name.lower().encode(), value.encode()) for name, value in status.headers.items()]
        if preconditions_of(if_none_match=poll.if_none_match).not_modified(status.entity_tag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers += [(b"content-length", b"%d" % len(status.body)), (b"content-type", JSON.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": status.body})


def plain_poll(scope: Scope) -> Poll | None:
    """What the request asks for; None where it is no poll, or one that has to be looked at more closely."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"]:
        return None
    named = _PLAIN_PATH.fullmatch(path_in(scope))
    if named is None:
        return None
    secrets: list[bytes] = []
    tags: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            secrets.append(value)
        elif name == b"if-none-match":
            tags.append(value)
        elif name in HEADERS_IN_THE_WAY:
            return None
    key = _PLAIN_KEY.fullmatch(secrets[0]) if len(secrets) == 1 else None
    if key is None or len(tags) > 1 or len(b"".join(tags)) > MAX_HEADER_CHARACTERS:
        return None
    return Poll(uuid.UUID(named[1]), key[1].decode(), tags[0].decode("latin-1") if tags else None)
