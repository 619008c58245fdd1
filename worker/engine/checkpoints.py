"""Reads model directories and Hub repositories, and says in one sentence what is wrong with one that is unreadable."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging
from transformers.utils.hub import cached_file

from worker.engine.architecture import attention_implementation, why_unsupported
from worker.engine.errors import ModelConfigError, ModelNotFoundError, ModelWeightsError, UnsupportedModelError

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
                attn_implementation=attention_implementation(config),
                local_files_only=self.is_local,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # the readers of the weight formats have no common error
            raise ModelWeightsError(path=self.path, cause=first_line(error)) from error
        model, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)  # as output_loading_info has it
        if report["missing_keys"]:  # transformers would leave these at random values
            missing = sorted(report["missing_keys"])
            raise ModelWeightsError(path=self.path, cause=f"{missing[0]} and {len(missing) - 1} more are missing")
        if model.get_output_embeddings() is None:  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            raise UnsupportedModelError(path=self.path, cause="it has no vocabulary head")
        model.requires_grad_(requires_grad=False)
        model.train(mode=False)
        placed: PreTrainedModel = model.to(device)  # type: ignore[arg-type]  # its decorator hides the signature
        return placed

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
def no_progress_bars() -> Iterator[None]:
    """Keep transformers and the Hub client from drawing on the terminal, and leave them as they were."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # as above
