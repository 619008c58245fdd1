"""Traces of OpenTelemetry, from a request to an attempt: off, with no import of its own, unless OTEL_* asks for them.

A job is a trace of its own, whose ids are the job's: its trace id is the UUID, and the id of its first span, the
submission, the UUID's last 64 bits. So whoever knows a job can add to its trace, whichever process it is, and nothing
has to be carried through a message or a column. The request that submitted it is another trace; each links to the
other.

An attribute never holds a text, a user or a key, and an exception is a type without its message.
"""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from telemetry.exporting import JobTracer

Value = str | int | float | bool
SPAN_BITS = 2**64 - 1
EXPORTERS = frozenset({"otlp", "console"})
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
REQUEST_ID, TRACEPARENT = "request_id", "traceparent"

_tracers: "list[JobTracer]" = []
"""The one that is used, last; none where traces are off."""


class TracingError(Exception):
    """Traces are asked for and cannot be made; the message is a sentence."""


def configure_tracing(service: str, environ: Mapping[str, str] | None = None) -> None:
    """Send traces from now on where OTEL_* variables ask for them; raises `TracingError` where that is impossible."""
    given = os.environ if environ is None else environ
    exporter = given.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    is_asked = exporter in EXPORTERS or (not exporter and any(given.get(name) for name in ENDPOINTS))
    if not is_asked or given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from telemetry.exporting import new_tracer  # noqa: PLC0415 - see the module's docstring
    except ImportError as error:
        raise TracingError("Traces need OpenTelemetry's SDK: pip install 'padserve[otel]'.") from error
    use(new_tracer(service, to_console=exporter == "console"))


def use(tracer: "JobTracer") -> None:
    """Have every function here make its spans with `tracer` from now on."""
    _tracers.append(tracer)


def stop() -> None:
    """Trace no more with what was last given to `use`."""
    _tracers.pop()


def is_on() -> bool:
    """Whether anything is traced."""
    return bool(_tracers)


@contextmanager
def span(name: str, **attributes: Value) -> "Iterator[Span | None]":
    """A span around the block, for attributes; None where traces are off."""
    if not _tracers:
        yield None
        return
    with _tracers[-1].current(name, attributes) as made:
        yield made


@contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> "Iterator[Span | None]":
    """Trace a request, as part of its client's trace where its headers name one."""
    if not _tracers:
        yield None
        return
    with _tracers[-1].served(method, headers) as made:
        yield made


def submitted(job_id: uuid.UUID, /, *, began_ns: int, **attributes: Value) -> None:
    """Begin a job's trace with its submission, which has just been committed."""
    if _tracers:
        _tracers[-1].submitted(job_id, began_ns, attributes)


def finished(name: str, job_ids: Iterable[uuid.UUID], /, *, seconds: float, **attributes: Value) -> None:
    """Trace what has just been done for several jobs at once: a trace of its own, linked with that of each job."""
    if _tracers:
        _tracers[-1].finished(name, job_ids, time.time_ns() - int(1e9 * seconds), attributes)


def link_jobs(span: "Span", job_ids: Iterable[uuid.UUID]) -> None:
    """Link what was done for several jobs at once to the trace of each; only where traces are on."""
    for job_id in job_ids:
        span.add_link(_tracers[-1].context_of(job_id))


def begin(name: str, job_id: uuid.UUID, /, **attributes: Value) -> "Span":
    """A span of a job's trace, to be ended by whoever asked for it; only where traces are on."""
    return _tracers[-1].begin(name, _tracers[-1].context_of(job_id), attributes)


def carried() -> dict[str, str]:
    """The request's id and trace context as strings, for `working_for` in another process."""
    request_id = structlog.contextvars.get_contextvars().get(REQUEST_ID)
    carrier = {} if request_id is None else {REQUEST_ID: str(request_id)}
    if _tracers:
        _tracers[-1].inject(carrier)
    return carrier


@contextmanager
def working_for(carrier: Mapping[str, str]) -> Iterator[None]:
    """Within the block, logs and traces belong to the request whose `carried` values these are."""
    bound = {REQUEST_ID: carrier[REQUEST_ID]} if REQUEST_ID in carrier else {}
    with structlog.contextvars.bound_contextvars(**bound):
        if not _tracers:
            yield
            return
        with _tracers[-1].continued(carrier):
            yield
