"""Which files of a folder make up a model: weights, adapter, configuration, tokenizer. Reads nothing but an index.

The one list of them: what is read at load, fetched from the Hub, and digested as the model's identity.
"""

import json
from pathlib import Path

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
ADAPTER_CONFIG = "adapter_config.json"
VALUE_HEAD = "value_head.safetensors"
VALUE_HEAD_PREFIX = "v_head.summary."  # of its tensors, as PAD's released code names them
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # what transformers looks for, in its order
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_WHOLE_TOKENIZER = "tokenizer.json"
# Each of these holds a whole vocabulary.
VOCABULARIES = (_WHOLE_TOKENIZER, "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "tekken.json")
# What a tokenizer is made from where it has not been written down whole.
_TOKENIZER_PARTS = (*VOCABULARIES[1:], "merges.txt", "sentencepiece.bpe.model")
_TOKENIZER_CONFIGURATION = ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")
_CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def found(folder: Path, *names: str) -> list[Path]:
    """The paths in `folder` of those `names` that are files there, in the order of the names."""
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
    gguf = gguf_file(folder)
    return [] if gguf is None else [gguf]


def gguf_file(folder: Path) -> Path | None:
    """The one GGUF file of a folder without other weights: of several, nobody knows which is meant."""
    others = (*_WEIGHTS, *(f"{name}.index.json" for name in _WEIGHTS))
    ggufs = sorted(folder.glob("*.gguf"))
    return ggufs[0] if len(ggufs) == 1 and not found(folder, *others) else None


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
    return [*config, weights[0]] if config and weights else []


def value_head_files(folder: Path) -> list[Path]:
    """What may hold a value head: a file of its own, the model's only file, or those of its shards that do."""
    shards = weight_map(folder / "model.safetensors.index.json")
    named = dict.fromkeys(shard for name, shard in shards.items() if name.startswith(VALUE_HEAD_PREFIX))
    return found(folder, VALUE_HEAD, "model.safetensors", *named)


def tokenizer_files(folder: Path) -> list[Path]:
    """What a tokenizer is read from: a whole one, or its parts, and its configuration."""
    vocabulary = found(folder, _WHOLE_TOKENIZER) or found(folder, *_TOKENIZER_PARTS)
    return [*vocabulary, *found(folder, *_TOKENIZER_CONFIGURATION)]


def chat_template_files(folder: Path) -> list[Path]:
    """Chat templates beside the tokenizer's configuration, the named ones included."""
    return [*found(folder, *_CHAT_TEMPLATES), *sorted((folder / "additional_chat_templates").glob("*.jinja"))]


def model_files(folder: Path, *, is_adapter: bool) -> list[Path]:
    """Everything that decides what the model or the adapter in this folder writes; no other file changes a text."""
    whole = [*found(folder, CONFIG, GENERATION_CONFIG), *weight_files(folder)]
    parts = [*(adapter_files(folder) if is_adapter else whole), *value_head_files(folder)]
    return list(dict.fromkeys([*parts, *tokenizer_files(folder), *chat_template_files(folder)]))


def is_whole(folder: Path) -> bool:
    """Whether nothing is missing of an adapter, or of a model and its tokenizer."""
    if adapter_files(folder):
        return True
    return bool(found(folder, CONFIG) and weight_files(folder) and found(folder, *VOCABULARIES))
