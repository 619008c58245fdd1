"""Which files of a folder make up a model: weights, adapter, configuration, tokenizer. Names only; reads no content."""

import json
from pathlib import Path

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
ADAPTER_CONFIG = "adapter_config.json"
VALUE_HEAD = "value_head.safetensors"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # what transformers looks for, in its order
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Each of these holds a whole vocabulary.
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "tekken.json")
_TOKENIZER = (
    *VOCABULARIES,
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def found(folder: Path, *names: str) -> list[Path]:
    """Those that are there, in this order."""
    return [folder / name for name in names if (folder / name).is_file()]


def weight_files(folder: Path) -> list[Path]:
    """The weights of a whole model, or nothing if any of them is missing."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = [folder / shard for shard in shards_of(index)]
            return [index, *shards] if shards and all(shard.is_file() for shard in shards) else []
    return []


def shards_of(index: Path) -> list[str]:
    """Names of the files that an index lists, each once."""
    return list(dict.fromkeys(weight_map(index).values()))


def weight_map(index: Path) -> dict[str, str]:
    """Tensor to file, as an index states it; nothing where there is none that can be read."""
    try:
        return dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (KeyError, OSError, TypeError, ValueError):
        return {}


def adapter_files(folder: Path) -> list[Path]:
    """Configuration and weights of an adapter, or nothing if one of the two is missing."""
    config, weights = found(folder, ADAPTER_CONFIG), found(folder, *_ADAPTER_WEIGHTS)
    return [*config, *weights] if config and weights else []


def tokenizer_files(folder: Path) -> list[Path]:
    """What a tokenizer is read from."""
    return found(folder, *_TOKENIZER)


def chat_template_files(folder: Path) -> list[Path]:
    """Chat templates beside the tokenizer's configuration, the named ones included."""
    return [*found(folder, *_CHAT_TEMPLATES), *sorted((folder / "additional_chat_templates").glob("*.jinja"))]


def is_whole(folder: Path) -> bool:
    """Whether nothing is missing of an adapter, or of a model and its tokenizer."""
    if adapter_files(folder):
        return True
    return bool(found(folder, CONFIG) and weight_files(folder) and found(folder, *VOCABULARIES))
