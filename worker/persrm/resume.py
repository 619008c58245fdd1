"""What a training leaves on disk while it runs, so that the same command goes on where a killed one stopped."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from worker.persrm.errors import OccupiedFolderError, OtherRunError

FOLDER = "training"
_RUN = "run"
_STATE = "trainer_state.json"  # the last file of a checkpoint that the trainer writes

Train: TypeAlias = Callable[[Path, str | None], float]
"""(folder for checkpoints, the checkpoint to go on from) -> share of held-out pairs that are ranked correctly."""


def check_out(out: Path) -> None:
    """Raise OccupiedFolderError where a training into `out` would write over what is there.

    Nothing is there, or a training that has not ended: whether the same one goes on is for `Workspace` to say.
    """
    if (out / FOLDER / _RUN).exists() or not out.is_dir():
        return
    if any(not path.name.startswith(".") for path in out.iterdir()):
        raise OccupiedFolderError(folder=out)


class Workspace:
    """`training/` under the output folder: the checkpoints of a run that has not ended; gone when it has."""

    def __init__(self, out: Path, run: Mapping[str, object]) -> None:
        """Begin, or go on with what is there; raises OtherRunError where that is another run."""
        self._folder = out / FOLDER
        begun = self._folder / _RUN
        if not begun.exists():  # what else is there was left of a run that has ended
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        fingerprint = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        if not begun.exists():
            _write(begun, fingerprint)
        if begun.read_text(encoding="ascii") != fingerprint:
            raise OtherRunError(folder=self._folder)

    def stage(self, name: str, train: Train) -> float:
        """What `train` gives; a stage that ended before is not trained again."""
        result = self._folder / f"{name}.accuracy"
        if not result.exists():
            checkpoints = self._folder / name
            accuracy = train(checkpoints, _newest_whole(checkpoints))
            _write(result, repr(accuracy))
            shutil.rmtree(checkpoints, ignore_errors=True)
        return float(result.read_text(encoding="ascii"))

    def close(self) -> None:
        """The run has ended: nothing has to be remembered."""
        (self._folder / _RUN).unlink()  # first: a kill in between leaves a policy that has ended, not one that goes on
        shutil.rmtree(self._folder)


def _newest_whole(checkpoints: Path) -> str | None:
    """The newest checkpoint that was written to its end; one that a kill interrupted is not."""
    whole = [path.parent for path in checkpoints.glob(f"checkpoint-*/{_STATE}") if _is_json(path)]
    newest = max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)
    return None if newest is None else str(newest)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    """Write the file so that after a kill it holds all of `text` or what it held before."""
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text, encoding="ascii")
    unfinished.replace(path)
