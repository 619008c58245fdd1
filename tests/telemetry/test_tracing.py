"""From a request to an attempt in traces, without a word of what clients sent; and nothing at all unless asked for."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from db.queries.keys import create_key, create_tenant
from db.session import Database
from domain.attempts import ClaimedItem, EngineTiming, Outcome
from telemetry import tracing
from telemetry.exporting import JobIds, JobTracer
from telemetry.tracing import TracingError, configure_tracing
from tests.builders import DIGEST, a_description, a_model
from tests.fake_decoder import load_echo
from tests.system import forked
from worker.pipeline.attempt_spans import AttemptSpans
from worker.pipeline.decoding import Decoding, DecodingPolicy
from worker.supervision import supervisor as supervising
from worker.supervision.supervisor import EngineSupervisor

CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "whale-in-a-prompt"  # noqa: S105 - to be looked for
ROOT = Path(__file__).parents[2]


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(id_generator=JobIds())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(JobTracer(provider))
    yield exporter
    tracing.stop()


@pytest.fixture
def decoding(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoding]:
    monkeypatch.setattr(supervising, "multiprocessing", type("_", (), {"get_context": lambda _: forked.context()}))
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=30)
    supervisor.start()
    policy = DecodingPolicy(model_digest=DIGEST, lease_seconds=30, time_slice_seconds=60, drain_seconds=20)
    yield Decoding(sqlite_database, supervisor, policy)
    supervisor.stop()


def submit(database: Database) -> uuid.UUID:
    a_model(database, description=a_description(DIGEST))
    with database.transaction() as session:
        key = create_key(session, create_tenant(session, "acme").id, "test", ["admin"])[1]
    url = database.url.render_as_string()
    app = create_app(Settings(database_url=url, redis_url="redis://127.0.0.1:1/0"), database=database)
    headers = {"Authorization": f"Bearer {key}", "traceparent": f"00-{CALLERS_TRACE}-00f067aa0ba902b7-01"}
    with TestClient(app, headers=headers) as client:
        items = [{"custom_id": str(number), "user_id": SECRET, "prompt": SECRET} for number in range(2)]
        client.put(f"/v1/profiles/{SECRET}", json={"principles": [SECRET]}).raise_for_status()
        job_id = uuid.UUID(client.post("/v1/jobs", json={"items": items}).raise_for_status().json()["id"])
    app.state.services.publisher.close(0)
    return job_id


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.trace_id for link in span.links}


def test_a_job_is_one_trace_from_its_submission_to_its_attempts_linked_with_its_request(
    sqlite_database: Database, decoding: Decoding, exported: InMemorySpanExporter
) -> None:
    job_id = submit(sqlite_database)

    decoding.run()

    spans = exported.get_finished_spans()
    of_job = [span for span in spans if span.context and span.context.trace_id == job_id.int]
    (submission,) = [span for span in of_job if span.name == "submission"]
    decodes = [span for span in of_job if span.name == "decode"]
    (request,) = [span for span in spans if span.name == "POST /v1/jobs"]
    assert len(decodes) == 2
    assert all(
        span.parent and submission.context and span.parent.span_id == submission.context.span_id for span in decodes
    )
    assert {span.attributes and span.attributes["padserve.outcome"] for span in decodes} == {"stop"}
    assert request.context is not None
    assert f"{request.context.trace_id:032x}" == CALLERS_TRACE
    assert linked(submission) == {request.context.trace_id}
    assert linked(request) == {job_id.int}
    for name in ("claim", "save"):
        assert any(job_id.int in linked(span) for span in spans if span.name == name), name
    assert not any(SECRET in span.to_json() for span in spans)


def test_the_span_of_an_attempt_says_where_its_time_in_the_engine_went(exported: InMemorySpanExporter) -> None:
    item = ClaimedItem(1, uuid.uuid4(), 1, [], {}, {})
    spans = AttemptSpans()
    spans.begin([item])

    spans.end([Outcome(1, 1, text="tea", finish_reason="stop", timing=EngineTiming(0.5, 0.25, 2.0))])

    (span,) = exported.get_finished_spans()
    given = span.attributes or {}
    names = [f"padserve.engine.{name}_seconds" for name in ("queue", "prefill", "decode")]
    assert [given[name] for name in names] == [0.5, 0.25, 2.0]


def test_without_the_variables_nothing_is_imported_and_nothing_is_traced() -> None:
    program = (
        "import sys; from telemetry import tracing; tracing.configure_tracing('x', {}); assert not tracing.is_on(); "
        "import worker.pipeline.decoding; "
        "assert not any(name.startswith(('opentelemetry.exporter', 'telemetry.exporting')) for name in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"},
    ],
)
def test_traces_that_are_switched_off_are_not_made(environ: dict[str, str]) -> None:
    configure_tracing("padserve-api", environ)

    assert not tracing.is_on()


def test_traces_that_cannot_be_made_are_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "telemetry.exporting", None)

    with pytest.raises(TracingError, match=r"pip install 'padserve\[otel\]'"):
        configure_tracing("padserve-api", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
