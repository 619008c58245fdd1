"""A training that is killed goes on where it stopped, to the same result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.dpo_trainer import DPOTrainer

from tests.persrm.models import PAIRS, SETTINGS
from worker.persrm.errors import OccupiedFolderError, OtherRunError
from worker.persrm.resume import Workspace, check_out
from worker.persrm.train import train_policy

LONG = replace(SETTINGS, num_epochs=3, value_head_epochs=2, checkpoint_every=2)


class Killed(BaseException):
    """As abrupt as a signal: nothing may tidy up after it."""


class KillAtStep(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the trainer's signature)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_others: object,
    ) -> None:
        if state.global_step == self.step:
            raise Killed


def kill_in(monkeypatch: pytest.MonkeyPatch, stage: int, step: int) -> Callable[[], None]:
    """The `stage`-th trainer from now on is killed after so many steps."""
    train = DPOTrainer.train
    calls = [0]

    def killed(trainer: DPOTrainer, resume_from_checkpoint: str | None) -> object:
        calls[0] += 1
        if calls[0] == stage:
            trainer.add_callback(KillAtStep(step))
        return train(trainer, resume_from_checkpoint)

    monkeypatch.setattr(DPOTrainer, "train", killed)
    return monkeypatch.undo


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where each training from now on goes on from."""
    train = DPOTrainer.train
    seen: list[str] = []

    def watched(trainer: DPOTrainer, resume_from_checkpoint: str | None) -> object:
        seen.append("/".join(Path(resume_from_checkpoint).parts[-2:]) if resume_from_checkpoint else "the start")
        return train(trainer, resume_from_checkpoint)

    monkeypatch.setattr(DPOTrainer, "train", watched)
    return seen


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter_model.safetensors") | load_file(folder / "value_head.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    train_policy(base, PAIRS, folder, LONG, base_name="base")
    return tensors(folder)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ((1, 1), ["the start", "the start"]),
        ((1, 5), ["adapter/checkpoint-4", "the start"]),
        ((2, 3), ["value_head/checkpoint-2"]),
    ],
)
def test_a_killed_training_goes_on_to_the_same_weights(  # noqa: PLR0917 (fixtures)
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: dict[str, Tensor],
    at: tuple[int, int],
    expected: list[str],
) -> None:
    stage, step = at
    revive = kill_in(monkeypatch, stage, step)
    with pytest.raises(Killed):
        train_policy(base, PAIRS, tmp_path, LONG, base_name="base")
    revive()
    assert (tmp_path / "training").exists()

    went_on_from = watch(monkeypatch)
    train_policy(base, PAIRS, tmp_path, LONG, base_name="base")

    assert went_on_from == expected
    for name, tensor in tensors(tmp_path).items():
        torch.testing.assert_close(tensor, uninterrupted[name], atol=1e-6, rtol=1e-5)
    assert not (tmp_path / "training").exists()


def test_a_run_with_other_settings_does_not_go_on_from_foreign_checkpoints(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revive = kill_in(monkeypatch, 1, 3)
    with pytest.raises(Killed):
        train_policy(base, PAIRS, tmp_path, LONG, base_name="base")
    revive()

    with pytest.raises(OtherRunError, match="unfinished training with other inputs"):
        train_policy(base, PAIRS, tmp_path, replace(LONG, beta=0.2), base_name="base")
    with pytest.raises(OtherRunError):
        train_policy(base, PAIRS[:-1], tmp_path, LONG, base_name="base")


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, {"seed": 1})
    for step, state in ((2, "{}"), (10, "{}"), (12, '{"cut'), (14, None)):
        folder = tmp_path / "training" / "adapter" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    seen: list[str] = []

    def train(_folder: Path, checkpoint: str | None) -> float:
        seen.append(Path(checkpoint or "none").name)
        return 0.5

    workspace.stage("adapter", train)

    assert seen == ["checkpoint-10"]


def test_a_training_that_has_not_ended_may_go_on_where_it_is_and_one_that_has_may_not_be_written_over(
    tmp_path: Path,
) -> None:
    out = tmp_path / "policy"
    check_out(out)
    workspace = Workspace(out, {"seed": 1})
    (out / "adapter_config.json").write_text("{}")

    check_out(out)
    workspace.close()
    with pytest.raises(OccupiedFolderError, match="say --replace"):
        check_out(out)


def test_what_a_kill_left_of_a_training_that_had_ended_is_not_gone_on_from(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, {})
    workspace.stage("adapter", lambda *_: 0.75)
    (tmp_path / "training" / "run").unlink()

    with pytest.raises(OccupiedFolderError):
        check_out(tmp_path)
    assert Workspace(tmp_path, {}).stage("adapter", lambda *_: 0.5) == 0.5


def test_a_stage_that_ended_is_not_trained_again(tmp_path: Path) -> None:
    first = Workspace(tmp_path, {}).stage("adapter", lambda *_: 0.75)

    again = Workspace(tmp_path, {}).stage("adapter", lambda *_: pytest.fail("trained again"))

    assert first == again == 0.75
