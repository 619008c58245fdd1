"""What `telemetry.tracing` does where traces are on. The only module that imports OpenTelemetry."""

import os
import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.tracing import SPAN_BITS, Value

_job: ContextVar[uuid.UUID | None] = ContextVar("job", default=None)
"""The job whose first span is being made."""


class JobIds(RandomIdGenerator):
    """Random ids, except for the first span of a job, whose trace and span ids are made of the job's id."""

    def generate_trace_id(self) -> int:
        """The UUID of the job whose first span is being made, else a random id."""
        job_id = _job.get()
        return super().generate_trace_id() if job_id is None else job_id.int

    def generate_span_id(self) -> int:
        """The last 64 bits of that UUID (62 of them random), else a random id."""
        job_id = _job.get()
        return super().generate_span_id() if job_id is None else job_id.int & SPAN_BITS


class JobTracer:
    """Makes the spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        """`provider` must have been made with `JobIds` as its id generator."""
        self._sampler = provider.sampler
        self._tracer = provider.get_tracer("padserve")
        self._propagator = TraceContextTextMapPropagator()

    def context_of(self, job_id: uuid.UUID) -> SpanContext:
        """The first span of a job's trace. Every process decides alike whether it is sampled: by the trace's id."""
        decision = self._sampler.should_sample(Context(), job_id.int, "submission").decision
        is_sampled = decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)
        return SpanContext(job_id.int, job_id.int & SPAN_BITS, is_remote=True, trace_flags=flags)

    @contextmanager
    def current(self, name: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
        """A span around the block, part of the one that is current."""
        with (
            self._tracer.start_as_current_span(
                name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
            ) as span,
            _failing(span),
        ):
            yield span

    @contextmanager
    def served(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of an HTTP request around the block: part of its client's trace where `traceparent` names one."""
        with (
            self._tracer.start_as_current_span(
                method,
                context=self._propagator.extract(headers, Context()),
                kind=SpanKind.SERVER,
                attributes={"http.request.method": method},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            _failing(span),
        ):
            yield span

    def submitted(self, job_id: uuid.UUID, began_ns: int, attributes: Mapping[str, Value]) -> None:
        """The first span of a job's trace, linked with the span that is current."""
        request = get_current_span()
        links = [Link(request.get_span_context())] if request.get_span_context().is_valid else []
        token = _job.set(job_id)
        try:
            span = self._tracer.start_span(
                "submission",
                context=Context(),
                links=links,
                start_time=began_ns,
                attributes=_named({"job_id": str(job_id), **attributes}),
            )
        finally:
            _job.reset(token)
        span.end()
        request.add_link(span.get_span_context())

    def begin(self, name: str, parent: SpanContext, attributes: Mapping[str, Value]) -> Span:
        """Start a span below `parent`, in its trace; whoever asked ends it."""
        context = set_span_in_context(NonRecordingSpan(parent), Context())
        return self._tracer.start_span(name, context=context, attributes=_named(attributes))

    def inject(self, carrier: MutableMapping[str, str]) -> None:
        """Write the current span's `traceparent` into `carrier`, for another process."""
        self._propagator.inject(carrier)

    @contextmanager
    def continued(self, carrier: Mapping[str, str]) -> Iterator[None]:
        """Within the block, the span that was written down is current."""
        token = contexts.attach(self._propagator.extract(carrier, Context()))
        try:
            yield
        finally:
            contexts.detach(token)


@contextmanager
def _failing(span: Span) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
        raise


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {f"padserve.{name}": value for name, value in attributes.items()}


def new_tracer(service: str, *, to_console: bool) -> JobTracer:
    """One that exports as the OTEL_* variables say; what they leave open is as the SDK has it."""
    is_named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create() if is_named else Resource.create({SERVICE_NAME: service})
    provider = TracerProvider(resource=resource, id_generator=JobIds())
    provider.add_span_processor(BatchSpanProcessor(_exporter(to_console=to_console)))
    return JobTracer(provider)


def _exporter(*, to_console: bool) -> SpanExporter:
    if to_console:
        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - takes a second

    return OTLPSpanExporter()
