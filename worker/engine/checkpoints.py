"""Reads model directories and Hub repositories, and says in one sentence what is wrong with one that is unreadable."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging
from transformers.utils.hub import cached_file

from worker.engine import attention
from worker.engine.architecture import why_unsupported
from worker.engine.errors import (
    ModelConfigError,
    ModelNotFoundError,
    ModelWeightsError,
    UnsupportedModelError,
)
from worker.engine.head import ValueHead

_VALUE_HEAD = "v_head.summary."  # as PAD's released code names it
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model directory, or a repository of the Hub."""

    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is a directory here: nothing is fetched then."""
        return Path(self.path).is_dir()

    @property
    def identity(self) -> str:
        """Equal for two spellings of one directory."""
        return str(Path(self.path).resolve()) if self.is_local else self.path

    @property
    def is_adapter(self) -> bool:
        """Whether it holds an adapter rather than a whole model."""
        return self._file("adapter_config.json") is not None

    def check_exists(self) -> None:
        """Raise ModelNotFoundError for what is neither a directory nor spelled like a Hub id."""
        if not self.is_local and not _HUB_ID.fullmatch(self.path):
            raise ModelNotFoundError(path=self.path, cause="it is not spelled like a Hub id")

    def vocabulary(self) -> dict[str, int] | None:
        """Token to id, if there is a tokenizer.json that says so."""
        file = self._file("tokenizer.json")
        try:
            tokenizer = json.loads(file.read_text(encoding="utf-8")) if file else {}
            entries = tokenizer["model"]["vocab"]
            # Unigram models list (token, score) pairs; the index is the id.
            vocabulary = entries if isinstance(entries, dict) else {entry[0]: i for i, entry in enumerate(entries)}
            return vocabulary | {token["content"]: token["id"] for token in tokenizer.get("added_tokens", ())}
        except (KeyError, TypeError, ValueError):
            return None

    def config(self) -> PreTrainedConfig:
        """The configuration, once it is known that the engine can decode such a model."""
        if self.is_local and self._file("config.json") is None:
            raise ModelConfigError(path=self.path, cause="there is none")
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                self.path, local_files_only=self.is_local, trust_remote_code=False
            )
        except OSError as error:
            unreadable = ModelConfigError if self.is_local else ModelNotFoundError
            raise unreadable(path=self.path, cause=first_line(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedModelError(path=self.path, cause=first_line(error)) from error
        cause = why_unsupported(config)
        if cause is not None:
            raise UnsupportedModelError(path=self.path, cause=cause)
        return config

    def model(self, config: PreTrainedConfig, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
        """The model with its weights, in evaluation mode on the device."""
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                self.path,
                config=config,
                dtype=dtype,
                attn_implementation=attention.NAME,
                local_files_only=self.is_local,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # the readers of the weight formats have no common error
            raise ModelWeightsError(path=self.path, cause=first_line(error)) from error
        model, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)  # as output_loading_info has it
        unread = sorted(key for key in report["unexpected_keys"] if key.startswith(_VALUE_HEAD))
        if unread and not self._tensors(_VALUE_HEAD):
            cause = f"{unread[0]}, a value head, is in a format older than safetensors: convert it"
            raise ModelWeightsError(path=self.path, cause=cause)
        if report["missing_keys"]:  # transformers would leave these at random values
            missing = sorted(report["missing_keys"])
            raise ModelWeightsError(path=self.path, cause=f"{missing[0]} and {len(missing) - 1} more are missing")
        if model.get_output_embeddings() is None:  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            raise UnsupportedModelError(path=self.path, cause="it has no vocabulary head")
        model.requires_grad_(requires_grad=False)
        model.train(mode=False)
        placed: PreTrainedModel = model.to(device)  # type: ignore[arg-type]  # its decorator hides the signature
        return placed

    def value_head(self, model: PreTrainedModel) -> ValueHead | None:
        """The d x d matrix of a PAD policy, beside the weights of model or adapter or among them; None without one."""
        width = model.config.get_text_config().hidden_size
        tensors = self._tensors(_VALUE_HEAD)
        weight = tensors.get(f"{_VALUE_HEAD}weight")
        if weight is None:
            return None
        if weight.shape != (width, width):
            cause = f"its value head is {' x '.join(map(str, weight.shape))}, not {width} x {width}"
            raise UnsupportedModelError(path=self.path, cause=cause)
        bias = tensors.get(f"{_VALUE_HEAD}bias")
        return ValueHead(
            weight.to(model.device, model.dtype), None if bias is None else bias.to(model.device, model.dtype)
        )

    def _tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors of the safetensors files whose names begin so."""
        found: dict[str, torch.Tensor] = {}
        for file in self._weight_files():
            with safe_open(file, framework="pt") as weights:
                found |= {name: weights.get_tensor(name) for name in weights.keys() if name.startswith(prefix)}  # noqa: SIM118 (no mapping)
        return found

    def _weight_files(self) -> list[Path]:
        """What may hold a value head: a file of its own, the model's only file, or its shards."""
        files = [self._file("value_head.safetensors"), self._file("model.safetensors")]
        index = self._file("model.safetensors.index.json")
        if index is not None:
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files += [self._file(shard) for name, shard in shards.items() if name.startswith(_VALUE_HEAD)]
        return [file for file in dict.fromkeys(files) if file is not None]

    def _file(self, name: str) -> Path | None:
        if self.is_local:
            file = Path(self.path) / name
            return file if file.is_file() else None
        try:
            found = cached_file(self.path, name)
        except OSError:
            return None
        return Path(found) if found else None


def first_line(error: Exception) -> str:
    """What a foreign error says, short enough for one sentence."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep transformers and the Hub client from writing on the terminal, and leave them as they were.

    What they report of a checkpoint is checked here, and raised where it matters.
    """
    enabled, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # as above
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # as above
