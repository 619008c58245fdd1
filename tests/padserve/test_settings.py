from pathlib import Path

import pytest

from api.settings import Settings as ApiSettings
from padserve.errors import SettingsError
from padserve.settings import KNOWN_NAMES, PREFIX, child_environment, read_settings
from worker.settings import WorkerSettings


def test_a_misspelled_variable_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(SettingsError, match=r"^PADSERVE_MODLE is not a known setting: did you mean PADSERVE_MODEL\?$"):
        read_settings({"PADSERVE_MODLE": "gpt2"})


def test_a_variable_that_resembles_nothing_is_refused_with_all_known_names() -> None:
    with pytest.raises(SettingsError, match=r"the known ones are PADSERVE_API_KEY, .*PADSERVE_URL"):
        read_settings({"PADSERVE_QQQQ": "1"})


def test_every_setting_of_the_api_and_the_worker_is_known() -> None:
    fields = {*ApiSettings.model_fields, *WorkerSettings.model_fields}

    assert {PREFIX + name.upper() for name in fields} <= KNOWN_NAMES


@pytest.mark.parametrize("port", ["http", "-1", "70000", "80.5"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SettingsError, match="PADSERVE_PORT must be a number from 0 to 65535"):
        read_settings({"PADSERVE_PORT": port})


def test_an_empty_variable_counts_as_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    settings = read_settings({"PADSERVE_MODEL": "", "PADSERVE_PORT": "", "HOME": "/somewhere"})

    assert (settings.model, settings.port, settings.home) == (None, 8000, tmp_path / ".padserve")


def test_child_processes_do_not_inherit_the_key_or_empty_settings() -> None:
    given = {"PATH": "/bin", "PADSERVE_API_KEY": "secret", "PADSERVE_POLICY": "", "PADSERVE_NUM_SLOTS": "8"}

    assert child_environment(given) == {"PATH": "/bin", "PADSERVE_NUM_SLOTS": "8"}
