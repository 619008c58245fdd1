"""What the API tells Prometheus: across tenants, so to nobody without the token, and in few series."""

import asyncio
import datetime as dt

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from api import metrics
from api.bulk import BulkProcesses
from api.http.dependencies import Scope
from api.metrics import FRESH_SECONDS, QueueCollector
from api.settings import Settings
from db.models import Job
from db.session import Database
from telemetry.metrics import DATABASE_FAULTS, watch
from tests.api.conftest import Api
from tests.builders import a_job, preference
from tests.counts import counted, series_of

TOKEN = "a-token-of-prometheus"  # noqa: S105 - not one that opens anything
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def scraped(api: Api) -> TestClient:
    """A client that has the token."""
    api.settings = api.settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})
    return api.anonymous_client(headers=HEADERS)


def test_where_no_token_is_set_nobody_reads_metrics(api: Api) -> None:
    for client in (api.anonymous_client(), api.client(Scope.ADMIN)):
        answer = client.get("/metrics")

        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_no_tenants_key_opens_what_is_counted_across_tenants(scraped: TestClient, api: Api) -> None:
    for client in (api.anonymous_client(), api.client(Scope.ADMIN)):
        answer = client.get("/metrics")

        assert (answer.status_code, "padserve_" in answer.text) == (401, False)
    assert scraped.get("/metrics").status_code == 200


def test_requests_are_counted_by_template_and_what_nobody_serves_is_one_series(scraped: TestClient) -> None:
    with counted(metrics.HTTP_REQUESTS) as counts:
        scraped.get("/v1/profiles/ada")
        scraped.get("/no/such/route/1")
        scraped.get("/no/such/route/2")
        scraped.request("BREW", "/no/such/route/2")

    assert counts.changed == {
        'padserve_http_requests_total{method="GET",route="/v1/profiles/{user_id}",status="401"}': 1,
        'padserve_http_requests_total{method="GET",route="(unmatched)",status="404"}': 2,
        'padserve_http_requests_total{method="(other)",route="(unmatched)",status="404"}': 1,
    }


def test_what_waits_is_told_by_what_it_waits_for(scraped: TestClient, api: Api) -> None:
    def change(**values: object) -> None:
        job_id = a_job(api.database, [preference("formal")] * 3)
        with api.database.transaction() as session:
            session.execute(update(Job).where(Job.id == job_id).values(**values))

    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    change(created_at=soon - dt.timedelta(hours=2))
    change(paused_at=soon)
    change(not_before=soon)
    change(num_queued=1, num_running=2)

    page = scraped.get("/metrics").text
    found = {
        sample.labels.get("state", family.name): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if family.name in {"padserve_queue_items", "padserve_queue_oldest_wait_seconds"}
    }

    assert found.pop("padserve_queue_oldest_wait_seconds") == pytest.approx(3600, abs=60)
    assert found == {"queued": 4, "paused": 3, "scheduled": 3, "running": 2}
    assert 'padserve_workers{state="ready"} 1.0' in page


def test_the_queue_is_looked_at_once_whoever_asks_how_often_and_left_out_while_it_cannot_be(
    sqlite_database: Database,
) -> None:
    moment = 0.0
    collector = QueueCollector(sqlite_database, clock=lambda: moment)

    def num_families() -> int:
        return len(list(collector.collect()))

    with_queue = num_families()
    with sqlite_database.engine.begin() as connection:
        connection.execute(text("DROP TABLE workers"))

    assert num_families() == with_queue
    moment = FRESH_SECONDS
    assert num_families() == with_queue - 4


def test_no_label_can_name_a_tenant_a_user_a_job_or_a_model(sqlite_database: Database) -> None:
    names = {
        name
        for family in metrics.registry(sqlite_database).collect()
        for sample in family.samples
        for name in sample.labels
    }

    assert names <= {"method", "route", "status", "outcome", "kind", "state", "version", "le"}


def test_a_series_that_nothing_has_happened_to_is_there(sqlite_database: Database) -> None:
    series = series_of(metrics.registry(sqlite_database))

    assert 'padserve_webhook_attempts_total{outcome="given_up"}' in series
    assert 'padserve_database_faults_total{kind="passes"}' in series


def fail_once(settings: Settings, database: Database) -> None:
    del settings
    with pytest.raises(OperationalError), database.engine.connect() as connection:
        connection.execute(text("SELECT * FROM no_such_table"))


def test_what_a_process_beside_the_api_counts_is_counted_where_prometheus_asks(settings: Settings) -> None:
    bulk = BulkProcesses(settings)

    with counted(DATABASE_FAULTS) as counts:
        for _ in range(2):
            asyncio.run(bulk.run(fail_once))
    bulk.close()

    assert counts.changed == {'padserve_database_faults_total{kind="passes"}': 2}


def test_what_goes_wrong_in_a_database_is_counted(sqlite_database: Database) -> None:
    watch(sqlite_database)

    with counted(DATABASE_FAULTS) as counts, pytest.raises(OperationalError), sqlite_database.transaction() as session:
        session.execute(text("SELECT * FROM no_such_table"))

    assert counts['padserve_database_faults_total{kind="passes"}'] == 1
