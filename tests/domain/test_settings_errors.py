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
        ("time_slice_seconds", "0", "PADSERVE_TIME_SLICE_SECONDS must be above 0; it is '0'."),
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

    assert sentence_of(wrong.value) == sentence
