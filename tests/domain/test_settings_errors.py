"""What is wrong with a setting is one sentence that names it."""

import pytest
from pydantic import ValidationError

from domain.settings_errors import sentence_of
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("num_slots", "0", "PADSERVE_NUM_SLOTS must be at least 1; it is '0'."),
        ("num_slots", "many", "PADSERVE_NUM_SLOTS must be a whole number; it is 'many'."),
        ("time_slice_seconds", "0", "PADSERVE_TIME_SLICE_SECONDS must be at least 0.1; it is '0'."),
        ("lease_seconds", "inf", "PADSERVE_LEASE_SECONDS must be at most 86400; it is 'inf'."),
        ("lease_seconds", "nan", "PADSERVE_LEASE_SECONDS must be at most 86400; it is 'nan'."),
        ("engine_silence_seconds", "1", "PADSERVE_ENGINE_SILENCE_SECONDS must be at least 3; it is '1'."),
        ("reconcile_seconds", "1e-9", "PADSERVE_RECONCILE_SECONDS must be at least 0.05; it is '1e-9'."),
        ("max_attempts", "99999999999999999999", "PADSERVE_MAX_ATTEMPTS must be at most 1000; it is '9999999999999999"),
        (
            "model_name",
            "a@b",
            "PADSERVE_MODEL_NAME must be of 1 to 256 printable characters without @; it is 'a@b'.",
        ),
        (
            "model_aliases",
            "tea, " + "x" * 257,
            "PADSERVE_MODEL_ALIASES must be of 1 to 256 printable characters without @.",
        ),
        ("drain_seconds", "soon", "PADSERVE_DRAIN_SECONDS must be a number; it is 'soon'."),
        ("metrics_port", "99999", "PADSERVE_METRICS_PORT must be at most 65535; it is '99999'."),
        ("redis_url", "", "PADSERVE_REDIS_URL must be set."),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_must_be_and_what_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    given = {"database_url": "sqlite://", "redis_url": "redis://somewhere", name: value}
    for each, text in given.items():
        monkeypatch.setenv(f"PADSERVE_{each.upper()}", text)

    with pytest.raises(ValidationError) as wrong:
        WorkerSettings()

    assert sentence_of(wrong.value).startswith(sentence)
