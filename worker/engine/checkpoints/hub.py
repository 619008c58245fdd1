"""From what a user calls a model to the folder that holds it: a folder here, or a snapshot of a Hub repository.

A repository is resolved once, and everything is read from that folder. A whole snapshot in the cache is used without
asking the Hub: loading then needs no network, and a model does not change because somebody has pushed to it. `hf
download` brings the newest one.
"""

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import IncompleteSnapshotError

from worker.engine.checkpoints import files
from worker.engine.errors import ModelNotFoundError, first_line

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
# Copies of the weights in other formats, and whatever lies in folders of its own (onnx, original).
_NOT_WANTED = ["*/*", "consolidated*"]
_ANSWER_SECONDS = 10.0


def local_folder(path: str) -> Path:
    """The folder of a model, fetched from the Hub where need be; raises ModelNotFoundError."""
    if Path(path).is_dir():
        return Path(path)
    if not _HUB_ID.fullmatch(path):
        raise ModelNotFoundError(path=path, cause="it is not spelled like a Hub id")
    cached = _cached(path)
    if cached is not None and files.is_whole(cached):
        return cached
    try:
        return _fetched(path)
    except Exception as error:  # the Hub's client, its transport and the disk have no common error
        if cached is not None and files.found(cached, files.CONFIG, files.ADAPTER_CONFIG):
            return cached  # what is missing from it is named by whoever needs it
        raise ModelNotFoundError(path=path, cause=first_line(error)) from error


def _cached(path: str) -> Path | None:
    """The snapshot in the cache, whole or not."""
    try:
        return Path(snapshot_download(path, local_files_only=True))
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)
    except (OSError, ValueError):
        return None


def _fetched(path: str) -> Path:
    """The newest snapshot: weights as safetensors, or else as they were saved before there were any."""
    for weights in ("*.safetensors", "*.bin"):
        folder = Path(
            snapshot_download(
                path,
                allow_patterns=[*_SMALL_FILES, weights],
                ignore_patterns=_NOT_WANTED,
                etag_timeout=_ANSWER_SECONDS,
            )
        )
        if files.weight_files(folder) or files.adapter_files(folder):
            break
    return folder
