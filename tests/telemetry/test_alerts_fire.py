"""Every alert fires on what it is for, alone, and stops when that has passed: asked of Prometheus' own promtool.

Time is simulated, in minutes. Each alert has the series in which something goes wrong from the tenth minute to the
fortieth, and a time at which it must fire; where nothing is wrong, and long after, none does.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped] # published without types

RULES = Path(__file__).parents[2] / "docker" / "monitoring" / "rules.yml"
PROMTOOL = shutil.which("promtool")
CALM = {
    "padserve_ready": "1x150",
    'padserve_workers{state="ready"}': "1x150",
    'padserve_queue_items{state="queued"}': "0x150",
    "padserve_queue_oldest_wait_seconds": "0x150",
    'padserve_queue_wait_seconds_bucket{le="3600"}': "0+60x150",
    'padserve_queue_wait_seconds_bucket{le="14400"}': "0+60x150",
    'padserve_queue_wait_seconds_bucket{le="+Inf"}': "0+60x150",
    'padserve_ended_items_total{state="succeeded"}': "0+60x150",
    'padserve_ended_items_total{state="failed"}': "0+1x150",
    'padserve_engine_restarts_total{reason="died"}': "0x150",
    "padserve_stale_writes_refused_total": "0x150",
    'padserve_expired_leases_total{of="items"}': "0x150",
    "padserve_mended_counters_total": "0x150",
    'padserve_webhook_attempts_total{outcome="given_up"}': "0x150",
    "padserve_disabled_webhooks_total": "0x150",
    'padserve_database_faults_total{kind="passes"}': "0x150",
    "padserve_redis_faults_total": "0x150",
    'padserve_http_requests_total{route="/v1/jobs",status="200"}': "0+60x150",
    'padserve_http_requests_total{route="/v1/jobs",status="500"}': "0x150",
    'padserve_http_requests_total{route="/readyz",status="503"}': "0x150",
    "padserve_database_disk_free_bytes": "9e9x150",
}
WAITS = 'padserve_queue_wait_seconds_bucket{{le="{}"}}'
REQUESTS = 'padserve_http_requests_total{{route="{}",status="{}"}}'
WRONG = {
    "PadserveNotReady": {"padserve_ready": "1x9 0x30 1x110", REQUESTS.format("/readyz", 503): "0x9 0+4x30 120x110"},
    "PadserveApiDown": {"padserve_ready": "1x9 _x30 1x110"},
    "PadserveNoWorker": {
        'padserve_workers{state="ready"}': "1x9 0x30 1x110",
        'padserve_queue_items{state="queued"}': "0x9 5x30 0x110",
    },
    "PadserveQueueStalls": {"padserve_queue_oldest_wait_seconds": "0x9 0+60x30 0x110"},
    "PadserveQueueWaitHigh": {WAITS.format(3600): "0+60x9 600x30 600+60x110"},
    "PadserveItemsFail": {'padserve_ended_items_total{state="failed"}': "0x9 0+10x30 300x110"},
    "PadserveEngineRestarts": {'padserve_engine_restarts_total{reason="died"}': "0x9 0+1x30 30x110"},
    "PadserveStaleWrites": {"padserve_stale_writes_refused_total": "0x9 0+1x30 30x110"},
    "PadserveLeasesExpire": {'padserve_expired_leases_total{of="items"}': "0x9 5x140"},
    "PadserveCountersMended": {"padserve_mended_counters_total": "0x9 1x140"},
    "PadserveWebhooksFail": {"padserve_disabled_webhooks_total": "0x9 1x140"},
    "PadserveDatabaseFaults": {'padserve_database_faults_total{kind="passes"}': "0x9 0+8x30 240x110"},
    "PadserveRedisFaults": {"padserve_redis_faults_total": "0x9 0+1x30 30x110"},
    "PadserveServerErrors": {REQUESTS.format("/v1/jobs", 500): "0x9 0+10x30 300x110"},
    "PadserveDiskFills": {"padserve_database_disk_free_bytes": "9e9x9 1e9x30 9e9x110"},
}
FIRES_AT = {"PadserveLeasesExpire": "16m"}
"""Of one event, for the quarter of an hour after it; all others in the midst of what is wrong."""


def firing(minute: str, *alerts: str) -> dict[str, object]:
    """What promtool is to find: these alerts fire at this minute, and no other."""
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    asked = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {"expr": asked, "eval_time": minute, "exp_samples": samples}


def a_test(alert: str) -> dict[str, object]:
    series = [{"series": name, "values": values} for name, values in (CALM | WRONG[alert]).items()]
    moments = [firing("5m"), firing(FIRES_AT.get(alert, "35m"), alert), firing("140m")]
    return {"name": alert, "interval": "1m", "input_series": series, "promql_expr_test": moments}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: on Debian, apt install prometheus")
def test_each_alert_fires_on_what_it_is_for_and_then_stops(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    tests = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [a_test(alert) for alert in WRONG]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests, sort_keys=False))

    ended = subprocess.run(
        [PROMTOOL, "test", "rules", str(tmp_path / "tests.yml")], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_no_alert_goes_untested() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]

    assert WRONG.keys() == {rule["alert"] for group in groups for rule in group["rules"]}
