"""Models that are trained once and then reused: a folder holds one, and what it was made from."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECORD = "training.json"
Recipe = TypeVar("Recipe", bound="DataclassInstance")
Train = Callable[[Path, Path, Path, Recipe], None]
"""`train(base, out, work, recipe)` writes a model to `out`; it shares the tokenizer of `base`."""


def trained(base: Path, out: Path, recipe: Recipe, train: Train[Recipe]) -> str:
    """The folder `out` with its model; trained first unless it is there, made from this very recipe and base."""
    wanted = {"recipe": json.loads(json.dumps(asdict(recipe))), "base": _digest(base)}
    if (out / RECORD).is_file() and wanted.items() <= json.loads((out / RECORD).read_text()).items():
        return str(out)
    print(f"== training {out.name}", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with TemporaryDirectory(dir=out.parent) as work:
        fresh = Path(work) / "model"
        train(base, fresh, Path(work) / "checkpoints", recipe)
        seconds = time.monotonic() - start
        record = wanted | {"seconds": round(seconds, 1), "threads": torch.get_num_threads()}
        (fresh / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)  # a crash from here on costs a training, not a wrong model
        fresh.rename(out)
    print(f"== {out.name}: {seconds / 60:.1f} minutes", flush=True)
    return str(out)


def _digest(base: Path) -> str:
    """Digest of the base's files: adapters belong to its weights, and every other model shares its tokenizer."""
    digest = hashlib.sha256()
    for file in sorted(path for path in base.iterdir() if path.is_file()):
        digest.update(f"{file.name} {file.stat().st_size} ".encode() + file.read_bytes())
    return digest.hexdigest()
