"""`--model` as it is written: which model, with which policy, under which name."""

from pathlib import Path

import pytest

from padserve.errors import StackError
from padserve.stack.served import ServedModel, read_served


@pytest.mark.parametrize(
    ("text", "served"),
    [
        ("hub/model", ServedModel("hub/model", None, "hub/model")),
        ("/somewhere/base", ServedModel("/somewhere/base", None, "base")),
        ("hub/model+hub/policy", ServedModel("hub/model", "hub/policy", "hub/model")),
        ("demo=/somewhere/base+/somewhere/policy", ServedModel("/somewhere/base", "/somewhere/policy", "demo")),
        ("demo=hub/base+hub/policy+hub/small", ServedModel("hub/base", "hub/policy", "demo", "hub/small")),
    ],
)
def test_a_model_is_written_with_its_policy_and_its_name(text: str, served: ServedModel) -> None:
    assert read_served([text], {}) == (served,)


def test_a_folder_that_is_there_is_a_folder_whatever_its_name_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a+b", "a=b", "c+d"):
        (tmp_path / name).mkdir()

    assert read_served(["a+b"], {}) == (ServedModel("a+b", None, "a+b"),)
    assert read_served(["x=a+b+c+d+a+b"], {}) == (ServedModel("a+b", "c+d", "x", "a+b"),)
    assert read_served(["a=b+hub/policy"], {}) == (ServedModel("a=b", "hub/policy", "a=b"),)


def test_two_models_of_one_name_are_refused_with_what_to_write() -> None:
    with pytest.raises(StackError, match="--model checkpoint-500-2=/b/checkpoint-500"):
        read_served(["/a/checkpoint-500", "/b/checkpoint-500"], {})

    assert len(read_served(["/a/checkpoint-500", "b=/b/checkpoint-500"], {})) == 2


@pytest.mark.parametrize("setting", ["PADSERVE_MODEL_NAME", "PADSERVE_MODEL_ALIASES"])
def test_a_name_for_one_model_is_not_given_to_several(setting: str) -> None:
    with pytest.raises(StackError, match=setting):
        read_served(["hub/model"], {setting: "demo"})

    assert read_served([], {setting: "demo"}) == ()


@pytest.mark.parametrize("text", ["", "+hub/policy"])
def test_no_model_is_refused(text: str) -> None:
    with pytest.raises(StackError, match="names no model"):
        read_served([text], {})


@pytest.mark.parametrize(
    ("text", "fault"), [("hub/a++hub/b", "a reference and no policy"), ("hub/a+hub/b+hub/c+hub/d", "too many parts")]
)
def test_what_is_neither_model_nor_policy_nor_reference_is_refused_with_the_form(text: str, fault: str) -> None:
    with pytest.raises(StackError, match=rf"has {fault}: write --model \[NAME=\]PATH\+POLICY\+REFERENCE"):
        read_served([text], {})


def test_a_reference_in_the_environment_is_not_given_to_policies_that_it_was_not_meant_for() -> None:
    with pytest.raises(StackError, match="PADSERVE_REFERENCE is for PADSERVE_POLICY"):
        read_served(["hub/a+hub/b"], {"PADSERVE_REFERENCE": "hub/c"})

    told = read_served(["hub/a+hub/b+hub/c", "hub/d"], {})
    assert [model.settings["PADSERVE_REFERENCE"] for model in told] == ["hub/c", ""]


def test_each_worker_shows_its_metrics_at_a_port_of_its_own() -> None:
    served = read_served(["hub/a", "hub/b"], {"PADSERVE_METRICS_PORT": "9400"})

    assert [model.settings["PADSERVE_METRICS_PORT"] for model in served] == ["9400", "9401"]
    assert "PADSERVE_METRICS_PORT" not in read_served(["hub/a"], {})[0].settings
