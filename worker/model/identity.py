"""What a model is: a digest over the content of every file that decides what it writes. Names of folders do not count.

Of a folder as of a repository of the Hub, whose files lie in the Hub's cache once the model is loaded: two machines
that hold the same files hold the same model. Which files count is what the engine reads, no more: an optimizer's state
or a README beside the weights changes no text.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from worker.engine import Checkpoint, local_folder
from worker.model.card import CARD_NAME

_NUM_THREADS = 4


def model_digest(
    model: str,
    policy: str | None = None,
    card: str | None = None,
    *,
    guide: str | None = None,
    reference: str | None = None,
) -> str:
    """SHA-256, in hexadecimal, of what is loaded: folders or Hub ids, all at hand.

    A policy and a guide of the same files are different models: they do not know the same methods. `card` is a card's
    path, if it lies elsewhere than beside the policy or, without one, beside the model.
    """
    loaded = {"model": model, "policy": policy, "guide": guide, "reference": reference}
    parts = {part: _files(source, is_base=part == "model") for part, source in loaded.items() if source is not None}
    beside = policy if policy is not None else model
    found = Path(card) if card is not None else _card(local_folder(beside))
    if found is not None:
        parts["card"] = {CARD_NAME: found}
    named = [(f"{part}/{name}", file) for part, files in parts.items() for name, file in sorted(files.items())]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:  # hashing holds no lock: shards are read side by side
        digests = pool.map(_digest, [file for _, file in named])
        content = [[name, digest] for (name, _), digest in zip(named, digests, strict=True)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _files(source: str, *, is_base: bool) -> dict[str, Path]:
    """What is read of a model or an adapter, by its name in the folder."""
    checkpoint = Checkpoint.find(source, is_base=is_base)
    return {file.relative_to(checkpoint.folder).as_posix(): file for file in checkpoint.files()}


def _card(folder: Path) -> Path | None:
    card = folder / CARD_NAME
    return card if card.is_file() else None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
