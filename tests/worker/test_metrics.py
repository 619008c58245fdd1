"""What a worker counts is what happened, whichever engine process said it."""

import socket
import uuid
from collections.abc import Iterator
from functools import partial
from unittest.mock import patch

import httpx
import pytest
from sqlalchemy import update

from db.models import Item
from db.queries import claims
from db.session import Database
from domain.attempts import Outcome
from domain.engine_load import EngineLoad
from tests.builders import DIGEST, a_job, preference
from tests.counts import counted, series_of
from tests.fake_decoder import load_echo
from worker import metrics
from worker.__main__ import main
from worker.pipeline.decoding import Decoding, DecodingPolicy
from worker.pipeline.reconciler import Reconciler
from worker.pipeline.saving import Saving
from worker.supervision.statistics import Statistics
from worker.supervision.supervisor import EngineSupervisor


@pytest.fixture
def decoding(sqlite_database: Database, forked_engines: None) -> Iterator[Decoding]:
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=30)
    supervisor.start()
    policy = DecodingPolicy(model_digest=DIGEST, lease_seconds=30, time_slice_seconds=60, drain_seconds=20)
    yield Decoding(sqlite_database, supervisor, policy)
    supervisor.stop()


def test_claims_waits_ends_and_engine_restarts_are_counted(
    sqlite_database: Database, decoding: Decoding, tmp_path: object
) -> None:
    a_job(sqlite_database, [preference("formal")] * 3, prompts=["a", "fail", f"once:{tmp_path}/died kill"])

    with counted(*metrics.COLLECTORS) as counts:
        decoding.run()

    assert counts["padserve_claimed_items_total"] == counts["padserve_queue_wait_seconds_count"] == 3
    assert counts["padserve_reclaimed_items_total"] == 0
    assert 0 < counts["padserve_queue_wait_seconds_sum"] < 300
    assert counts['padserve_ended_items_total{state="succeeded"}'] == 2
    assert counts['padserve_ended_items_total{state="failed"}'] == 1
    assert counts['padserve_engine_restarts_total{reason="died"}'] == 1
    assert counts["padserve_save_duration_seconds_count"] >= 1
    assert series_of(metrics.registry())["padserve_slots_in_use"] == 0


def test_an_outcome_that_comes_too_late_is_counted_as_refused_and_as_nothing_else(sqlite_database: Database) -> None:
    owner = uuid.UUID(int=7)
    a_job(sqlite_database, [preference("formal")] * 2)
    with sqlite_database.transaction() as session:
        held = claims.claim(session, owner=owner, model_digest=DIGEST, limit=2, lease_seconds=60)
        session.execute(update(Item).where(Item.id == held[0].item_id).values(lease_owner=uuid.UUID(int=8)))
    saving = Saving(sqlite_database, owner)

    with counted(*metrics.COLLECTORS) as counts:
        saving.add([Outcome(item.item_id, item.attempt, text="", num_completion_tokens=5) for item in held])
        saving.finish()

    assert counts["padserve_stale_writes_refused_total"] == 1
    assert counts['padserve_ended_items_total{state="succeeded"}'] == 1
    assert counts["padserve_generated_tokens_total"] == 5


def test_leases_that_run_out_and_attempts_after_them_are_counted(sqlite_database: Database) -> None:
    a_job(sqlite_database, [preference("formal")] * 2)
    claim = partial(claims.claim, owner=uuid.uuid4(), model_digest=DIGEST, limit=9)
    with sqlite_database.transaction() as session:
        claim(session, lease_seconds=-1)
    reconciler = Reconciler(
        sqlite_database, model_digest=DIGEST, max_attempts=3, is_idle=lambda: False, wake=lambda: None
    )

    with counted(*metrics.COLLECTORS) as counts:
        reconciler.sweep()
        with sqlite_database.transaction() as session:
            metrics.count_claim(claim(session, lease_seconds=60), 0.01)

    assert counts['padserve_expired_leases_total{of="items"}'] == 2
    assert counts["padserve_reclaimed_items_total"] == counts["padserve_claimed_items_total"] == 2
    assert counts["padserve_queue_wait_seconds_count"] == 0


def test_totals_of_an_engine_go_on_where_its_predecessor_ended() -> None:
    meter = metrics.EngineMeter()

    with counted(metrics.STEPS, metrics.READ_TOKENS) as counts:
        meter.begin(Statistics())
        meter.measure(Statistics(total_steps=10, total_prompt_tokens_read=100))
        meter.measure(Statistics(total_steps=15, total_prompt_tokens_read=100))
        meter.begin(Statistics())
        meter.measure(Statistics(total_steps=2, total_prompt_tokens_read=50))

    assert counts["padserve_engine_steps_total"] == 17
    assert counts["padserve_prompt_tokens_read_total"] == 150


def test_no_label_of_a_worker_can_name_a_tenant_a_user_a_job_or_a_model() -> None:
    names = {name for family in metrics.registry().collect() for sample in family.samples for name in sample.labels}

    assert names <= {"state", "reason", "of", "kind", "version", "le"}


def test_a_worker_shows_its_metrics_at_its_own_port_and_refuses_one_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sqlite_url: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    metrics.serve("127.0.0.1", port)
    given = {"DATABASE_URL": sqlite_url, "REDIS_URL": "redis://127.0.0.1:1/0", "METRICS_PORT": str(port)}
    for name, value in given.items():
        monkeypatch.setenv(f"PADSERVE_{name}", value)

    with patch("worker.__main__.configure_logs"):
        exit_code = main()

    assert "padserve_claims_total" in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert exit_code == 1
    assert f"PADSERVE_METRICS_PORT {port}: Address already in use." in capsys.readouterr().err


def test_the_load_of_an_engine_is_what_it_said_last_and_nothing_runs_once_nothing_is_inside() -> None:
    meter = metrics.EngineMeter()
    cache = {"cache_bytes_reserved": 100, "cache_bytes_used": 60, "cache_bytes_budget": 900}
    said = Statistics(num_slots=4, num_active=3, num_waiting=2, **cache)

    meter.measure(said)
    busy = meter.load
    meter.rest()

    assert busy == EngineLoad(4, 3, 2, 100, 60, 900)
    assert meter.load == EngineLoad(4, 0, 0, 100, 60, 900)
