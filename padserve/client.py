"""The Python client: jobs and profiles of one server, with answers as frozen values. Knows the endpoints, not HTTP."""

import datetime as dt
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from padserve import ndjson
from padserve.answers import Job, Model, Result, position_of
from padserve.discovery import find_server
from padserve.errors import ApiError, IncompleteResultsError, JobTimeoutError, UnreachableError
from padserve.ndjson import Source
from padserve.profiles import Profiles
from padserve.transport import IDEMPOTENCY_KEY, Call, Params, Transport

TIMEOUT_SECONDS = 120.0
MAX_RETRIES = 4
FIRST_POLL_SECONDS = 0.2
MAX_POLL_SECONDS = 2.0
POLL_GROWTH = 1.5
INCOMPLETE = "X-Incomplete"
NOT_ENDED = "Job {job_id} has not ended: wait for it first, or ask for partial results."

_JOB = TypeAdapter(Job)
_JOBS = TypeAdapter(list[Job])
_MODELS = TypeAdapter(list[Model])
_RESULT = TypeAdapter(Result)


@dataclass(frozen=True, slots=True)
class Campaign:
    """One prompt for many users: `{name}` stands for an attribute of the profile. Give exactly one audience."""

    prompt: str
    tags: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    everyone: bool = False

    @property
    def body(self) -> dict[str, object]:
        """What is sent; the server checks it."""
        audiences: dict[str, object] = {"tags": list(self.tags), "user_ids": list(self.user_ids), "all": self.everyone}
        return {"prompt": self.prompt, "audience": {name: value for name, value in audiences.items() if value}}


class Client:
    """One server, for one tenant. Use it as a context manager, or `close` it.

    Without `url` and `api_key` it is the server that PADSERVE_URL and PADSERVE_API_KEY name, else the one that
    `padserve up` has started in this folder.

    Requests that are safe to repeat are repeated when the connection or the server fails; a submission carries an
    Idempotency-Key, so it is safe too. Every failure is a `PadserveError`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        http: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        url, api_key = find_server(os.environ, url, api_key)
        self._sleep = sleep
        self._max_retries = max_retries
        self._transport = Transport(
            url, api_key, timeout_seconds=timeout_seconds, max_retries=max_retries, http=http, sleep=sleep
        )
        self.profiles = Profiles(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def submit(
        self,
        source: Source | Campaign,
        *,
        model: str | None = None,
        defaults: Mapping[str, object] | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: str | None = None,
        completion_window: str | None = None,
        not_before: dt.datetime | None = None,
        idempotency_key: str | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> Job:
        """Submit items or a campaign; the job is stored when this returns.

        Items are JSON objects, an NDJSON file or its path, the path of a CSV file, or a data frame; of the last two,
        `columns` gives columns the names of fields, and empty ones to those that are none.

        `model` is needed where several are served. `defaults` holds what items leave unsaid (`method`, `strength`,
        `max_tokens`, ...). `priority` is interactive, normal or bulk; what has not ended within the
        `completion_window` ("24h") never will; nothing is decoded `not_before` a moment, which has a time zone.
        A call with the same `idempotency_key` and content gives the same job.
        """
        headers = {IDEMPOTENCY_KEY: idempotency_key or uuid.uuid4().hex}
        stated: dict[str, object] = {
            "model": model,
            "defaults": dict(defaults or {}) or None,
            "metadata": dict(metadata or {}) or None,
            "priority": priority,
            "completion_window": completion_window,
            "not_before": None if not_before is None else not_before.isoformat(),
        }
        options = {name: value for name, value in stated.items() if value is not None}
        if isinstance(source, Campaign):
            return self._job(Call("POST", "/v1/jobs", headers=headers, json={**source.body, **options}))
        headers["Content-Type"] = ndjson.MEDIA_TYPE
        with ndjson.opened(source, options=options, columns=columns) as body:
            try:
                return self._job(Call("POST", "/v1/jobs", headers=headers, open_body=body.chunks))
            except ApiError as error:
                raise error.moved(body.place) from None

    def job(self, job_id: str) -> Job:
        """The job as it stands now."""
        return self._job(Call("GET", _path(job_id)))

    def jobs(self, *, state: str | None = None, page_size: int = 100) -> Iterator[Job]:
        """Every job, the newest first; pages are read as they are needed."""
        params: Params = {"limit": page_size} if state is None else {"limit": page_size, "state": state}
        while True:
            page = self._transport.request(Call("GET", "/v1/jobs", params=params)).json()
            yield from _JOBS.validate_python(page["data"])
            if not page["has_more"]:
                return
            params = {**params, "after": page["last_id"]}

    def readdress(self, job_id: str, model: str) -> Job:
        """Have another model write what is left of the job: for when nobody serves its own any more."""
        return self._job(Call("POST", _path(job_id) + "/readdress", json={"model": model}, repeats_safely=True))

    def models(self) -> list[Model]:
        """Every model that a worker has registered, the ones that are served first."""
        return _MODELS.validate_python(self._transport.request(Call("GET", "/v1/models")).json()["data"])

    def cancel(self, job_id: str) -> Job:
        """End the job: what has finished is kept, everything else is cancelled."""
        return self._job(Call("POST", _path(job_id) + "/cancel", repeats_safely=True))

    def pause(self, job_id: str) -> Job:
        """Begin nothing more of the job until it is resumed."""
        return self._job(Call("POST", _path(job_id) + "/pause", repeats_safely=True))

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        return self._job(Call("POST", _path(job_id) + "/resume", repeats_safely=True))

    def retry(self, job_id: str) -> Job:
        """Have what failed of the job done again; what has finished is never done again."""
        return self._job(Call("POST", _path(job_id) + "/retry", repeats_safely=True))

    def delete(self, job_id: str) -> None:
        """Remove an ended job with its items and texts."""
        self._transport.request(Call("DELETE", _path(job_id)))

    def wait(
        self, job_id: str, *, on_progress: Callable[[Job], None] | None = None, timeout_seconds: float | None = None
    ) -> Job:
        """Ask until the job has ended, and return it; `on_progress` sees every answer."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = FIRST_POLL_SECONDS
        while True:
            job = self.job(job_id)
            if on_progress is not None:
                on_progress(job)
            if job.has_ended:
                return job
            if deadline is not None and time.monotonic() >= deadline:
                raise JobTimeoutError(
                    f"Job {job_id} has not ended: {job.counts.ended} of {job.counts.total} items have."
                )
            self._sleep(pause)
            pause = min(pause * POLL_GROWTH, MAX_POLL_SECONDS)

    def results(self, job_id: str, *, state: str | None = None, partial: bool = False) -> Iterator[Result]:
        """What became of the items, in input order, as they arrive.

        Raises `IncompleteResultsError` before the first where the job has not ended; with `partial` what is there is
        given.
        """
        return (_RESULT.validate_json(line) for line in self.result_lines(job_id, state=state, partial=partial))

    def result_lines(self, job_id: str, *, state: str | None = None, partial: bool = False) -> Iterator[str]:
        """The same as NDJSON, a line at a time. A broken connection is taken up after the last line it brought."""
        check = None if partial else partial_refused(job_id)
        params: Params = {} if state is None else {"state": state}
        num_breaks = 0
        while True:
            try:
                call = Call("GET", _path(job_id) + "/results", params=params, headers={"Accept": ndjson.MEDIA_TYPE})
                for line in self._transport.lines(call, check=check):
                    yield line
                    params = {**params, "after": position_of(line)}
                    num_breaks = 0
            except UnreachableError:
                num_breaks += 1
                if num_breaks > self._max_retries:
                    raise
            else:
                return

    def _job(self, call: Call) -> Job:
        return _JOB.validate_json(self._transport.request(call).content)


def partial_refused(job_id: str) -> Callable[[httpx.Headers], None]:
    """A check of an answer's headers that refuses the results of a job that has not ended."""

    def check(headers: httpx.Headers) -> None:
        if headers.get(INCOMPLETE) == "true":
            raise IncompleteResultsError(NOT_ENDED.format(job_id=job_id))

    return check


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
