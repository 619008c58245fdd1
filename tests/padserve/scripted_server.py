"""A server that gives the answers of a script, one after another, and keeps what it was asked."""

from dataclasses import dataclass, field

import httpx

from padserve import Client

JOB: dict[str, object] = {
    "id": "0190",
    "state": "queued",
    "model": "tiny",
    "metadata": {},
    "counts": {"queued": 1, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "total": 1},
    "created_at": "2026-11-23T10:00:00Z",
    "started_at": None,
    "finished_at": None,
    "rate": None,
    "eta_seconds": None,
    "waiting_reason": "No worker is running.",
    "something_new": {"from": "a newer server"},
}
Answer = httpx.Response | httpx.TransportError


@dataclass
class Script:
    """Gives its answers one after another and keeps what was asked and how long the client paused."""

    answers: list[Answer]
    requests: list[httpx.Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def client(self, *, max_retries: int = 4) -> Client:
        http = httpx.MockTransport(self._answer)
        return Client("http://padserve.test", "key", max_retries=max_retries, http=http, sleep=self.pauses.append)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"type": "urn:padserve:problem", "status": status, "code": code, "detail": "Because."}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json", **headers})


def a_job(**changes: object) -> httpx.Response:
    return httpx.Response(200, json=JOB | changes)
