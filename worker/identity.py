"""What a model is: a digest over the content of every file that decides what it writes. Names of folders do not count.

Of a folder as of a repository of the Hub, whose files lie in the Hub's cache once the model is loaded: two machines
that hold the same files hold the same model. Which files count is what transformers reads, no more: an optimizer's
state or a README beside the weights changes no text.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from worker.card import CARD_NAME

# Alternatives, of which transformers and peft read the first that is there.
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    ("adapter_model.safetensors", "adapter_model.bin"),
    ("value_head.safetensors",),
)
_CONFIGURATION = (
    *("config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "chat_template.json"),
)
_TOKENIZER = "tokenizer.json"
# What a tokenizer is made from where it has not been written down whole.
_TOKENIZER_PARTS = (
    *("vocab.json", "merges.txt", "vocab.txt"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json"),
)
_TEMPLATES = "additional_chat_templates"
_NUM_THREADS = 4


def model_digest(model: str, policy: str | None = None, card: str | None = None, *, guide: str | None = None) -> str:
    """SHA-256, in hexadecimal, of what is loaded: `model`, `policy` and `guide` are folders or Hub ids, all at hand.

    A policy and a guide of the same files are different models: they do not know the same methods. `card` is a card's
    path, if it lies elsewhere than beside the policy or, without one, beside the model.
    """
    loaded = {"model": model, "policy": policy, "guide": guide}
    parts = {part: dict(_files(source)) for part, source in loaded.items() if source is not None}
    beside = policy if policy is not None else model
    found = Path(card) if card is not None else _file(beside, CARD_NAME)
    if found is not None:
        parts["card"] = {CARD_NAME: found}
    named = [(f"{part}/{name}", file) for part, files in parts.items() for name, file in sorted(files.items())]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:  # hashing holds no lock: shards are read side by side
        digests = pool.map(_digest, [file for _, file in named])
        content = [[name, digest] for (name, _), digest in zip(named, digests, strict=True)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _files(source: str) -> Iterator[tuple[str, Path]]:
    """What is read of a model or an adapter, by name."""
    for alternatives in _WEIGHTS:
        yield from _weights(source, alternatives)
    tokenizer = (_TOKENIZER,) if _file(source, _TOKENIZER) is not None else _TOKENIZER_PARTS
    for name in (*_CONFIGURATION, *tokenizer):
        file = _file(source, name)
        if file is not None:
            yield name, file
    beside = _file(source, "tokenizer_config.json") or _file(source, "config.json")
    if beside is not None:
        for template in sorted((beside.parent / _TEMPLATES).glob("*.jinja")):
            yield f"{_TEMPLATES}/{template.name}", template


def _weights(source: str, alternatives: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for name in alternatives:
        file = _file(source, name)
        if file is None:
            continue
        yield name, file
        if name.endswith(".index.json"):
            shards = json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()
            found = {shard: _file(source, shard) for shard in sorted(set(shards))}
            yield from ((shard, path) for shard, path in found.items() if path is not None)
        return


def _file(source: str, name: str) -> Path | None:
    if Path(source).is_dir():
        file = Path(source) / name
        return file if file.is_file() else None
    found = try_to_load_from_cache(source, name)
    return Path(found) if isinstance(found, str) else None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
