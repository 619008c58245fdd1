"""Reads model folders, and says in one sentence what is wrong with one that is unreadable."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import safe_open
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from worker.engine.checkpoints import files
from worker.engine.checkpoints.architecture import ATTENTION_IS_ITS_OWN, attention_for, why_unsupported
from worker.engine.checkpoints.hub import local_folder
from worker.engine.checkpoints.quantised import (
    method_of,
    missing_package,
    unpack_at_load,
    unpacked,
    why_not_whole_blocks,
    why_unreadable,
)
from worker.engine.checkpoints.tokenizer_files import TokenizerFiles
from worker.engine.errors import (
    OTHER_ARCHITECTURE,
    AdapterAsBaseError,
    GenerationConfigError,
    ModelConfigError,
    ModelWeightsError,
    UnsupportedModelError,
    first_line,
)
from worker.engine.layers import attention
from worker.engine.layers.head import ValueHead
from worker.engine.parallel.shards import distributed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model, or an adapter on one, and the folder that it is read from."""

    path: str
    """As the user wrote it: a folder, or a repository of the Hub."""
    folder: Path
    is_base: bool = False
    """The model that others may be adapters on; it is never one itself."""

    @classmethod
    def find(cls, path: str, *, is_base: bool = False) -> Self:
        """The checkpoint of that name, fetched where need be; raises ModelNotFoundError."""
        return cls(path, local_folder(path), is_base=is_base)

    @property
    def identity(self) -> str:
        """Equal for two spellings of the same weights."""
        return f"{self.folder.resolve()}{' (adapter)' if self.is_adapter else ''}"

    @property
    def is_adapter(self) -> bool:
        """Whether it is used as an adapter: a folder that holds whole weights, too, is one only beside its base."""
        if self.is_base or not files.found(self.folder, files.ADAPTER_CONFIG):
            return False
        return bool(files.adapter_files(self.folder)) or not files.weight_files(self.folder)

    @property
    def warning(self) -> str | None:
        """What to say of a folder that holds a whole model and an adapter, one of which is not used."""
        if not files.found(self.folder, files.ADAPTER_CONFIG) or not files.weight_files(self.folder):
            return None
        if self.is_adapter:
            return f"{self.path!r} holds an adapter and whole weights: the adapter is used, on the base's weights."
        return f"{self.path!r} holds whole weights and an adapter_config.json: the adapter is not used."

    @property
    def tokenizer(self) -> TokenizerFiles:
        """What the tokenizer files in the folder say; a new reader each time, which keeps what it has read."""
        return TokenizerFiles(self.folder)

    def files(self) -> list[Path]:
        """Everything that decides what the model writes: weights, configurations, tokenizer and chat template."""
        return files.model_files(self.folder, is_adapter=self.is_adapter)

    def config(self) -> PreTrainedConfig:
        """The configuration, once it is known that the engine can decode such a model."""
        if self.is_base and files.found(self.folder, files.ADAPTER_CONFIG) and not files.weight_files(self.folder):
            raise AdapterAsBaseError(path=self.path, base=self._base_of_adapter())
        if not files.found(self.folder, files.CONFIG) and not self._gguf_file:
            raise ModelConfigError(path=self.path, cause="there is none")
        self._check_generation_config()
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False, **self._gguf_file
            )
        except OSError as error:
            raise ModelConfigError(path=self.path, cause=first_line(error)) from error
        except (KeyError, StrictDataclassError, TypeError, ValueError) as error:
            raise UnsupportedModelError(path=self.path, cause=self._why_no_configuration()) from error
        cause = (
            why_unsupported(config)
            or missing_package(config)
            or why_not_whole_blocks(config, files.weight_files(self.folder))
        )
        if cause is not None:
            raise UnsupportedModelError(path=self.path, cause=cause)
        return config

    def model(
        self, config: PreTrainedConfig, dtype: torch.dtype, device: torch.device, num_shares: int = 1
    ) -> PreTrainedModel:
        """The model with its weights, in evaluation mode on the device; one share of them, where it has others."""
        unpack_at_load(config)
        method = method_of(config)
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                self.folder,
                config=config,
                dtype=dtype,
                attn_implementation=attention_for(config),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                # transformers puts an adapter that lies beside the weights on the model: it shall find none.
                adapter_kwargs={"subfolder": "no adapter"},
                **self._gguf_file,
                **({"distributed_config": distributed(config, num_shares)} if num_shares > 1 else {}),
            )
        except Exception as error:  # the readers of the weight formats have no common error
            if isinstance(error, KeyError) and error.args == (attention.NAME,):
                raise UnsupportedModelError(path=self.path, cause=ATTENTION_IS_ITS_OWN) from error
            if method is not None:
                raise UnsupportedModelError(path=self.path, cause=why_unreadable(method, error)) from error
            raise ModelWeightsError(path=self.path, cause=first_line(error)) from error
        model, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)  # as output_loading_info has it
        unread = sorted(key for key in report["unexpected_keys"] if key.startswith(files.VALUE_HEAD_PREFIX))
        if unread and not self._tensors(files.VALUE_HEAD_PREFIX):
            cause = f"{unread[0]}, a value head, is in a format older than safetensors: convert it"
            raise ModelWeightsError(path=self.path, cause=cause)
        if report["missing_keys"]:  # transformers would leave these at random values
            missing = sorted(report["missing_keys"])
            raise ModelWeightsError(path=self.path, cause=f"{missing[0]} and {len(missing) - 1} more are missing")
        if model.get_output_embeddings() is None:  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            raise UnsupportedModelError(path=self.path, cause="it has no vocabulary head")
        if method is not None or self._gguf_file:
            model = unpacked(model, dtype)
        model.requires_grad_(requires_grad=False)
        model.train(mode=False)
        placed: PreTrainedModel = model.to(device)  # type: ignore[arg-type]  # its decorator hides the signature
        return placed

    @property
    def _gguf_file(self) -> dict[str, str]:
        """The argument that names a GGUF file, which holds configuration and weights, where there are no others."""
        file = files.gguf_file(self.folder)
        return {} if file is None else {"gguf_file": file.name}

    def value_head(self, model: PreTrainedModel) -> ValueHead | None:
        """The d x d matrix of a PAD policy, beside the weights of model or adapter or among them; None without one."""
        width = model.config.get_text_config().hidden_size
        tensors = self._tensors(files.VALUE_HEAD_PREFIX)
        weight = tensors.get(f"{files.VALUE_HEAD_PREFIX}weight")
        if weight is None:
            return None
        if weight.shape != (width, width):
            cause = f"its value head is {' x '.join(map(str, weight.shape))}, not {width} x {width}"
            raise UnsupportedModelError(path=self.path, cause=cause)
        bias = tensors.get(f"{files.VALUE_HEAD_PREFIX}bias")
        return ValueHead(
            weight.to(model.device, model.dtype), None if bias is None else bias.to(model.device, model.dtype)
        )

    def _tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors of the safetensors files whose names begin so."""
        found: dict[str, torch.Tensor] = {}
        for file in files.value_head_files(self.folder):
            with safe_open(file, framework="pt") as weights:
                found |= {name: weights.get_tensor(name) for name in weights.keys() if name.startswith(prefix)}  # noqa: SIM118 (no mapping)
        return found

    def _why_no_configuration(self) -> str:
        """What to say of a config.json that can be read, and of which transformers makes none of its configurations."""
        if self._gguf_file:
            return "transformers reads no GGUF file of its architecture: give its weights as safetensors"
        try:
            content = json.loads((self.folder / files.CONFIG).read_text(encoding="utf-8"))
            kind = content["model_type"]
        except (KeyError, OSError, TypeError, ValueError):
            return "its config.json names no model_type: give the directory that save_pretrained wrote"
        if kind in CONFIG_MAPPING:
            return f"its config.json holds values that transformers does not take for a {kind!r}: download it again"
        code = ", and code beside the weights is not run" if "auto_map" in content else ""
        return f"this version of transformers has no model of type {kind!r}{code}: update it, or {OTHER_ARCHITECTURE}"

    def _check_generation_config(self) -> None:
        """Raise GenerationConfigError where transformers would leave the file out silently."""
        for file in files.found(self.folder, files.GENERATION_CONFIG):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise GenerationConfigError(path=self.path, cause=first_line(error)) from error
            if not isinstance(content, dict):
                raise GenerationConfigError(path=self.path, cause="it is no JSON object")

    def _base_of_adapter(self) -> str:
        """What an adapter's configuration says that it was trained on."""
        try:
            content = json.loads((self.folder / files.ADAPTER_CONFIG).read_text(encoding="utf-8"))
            return repr(content["base_model_name_or_path"])
        except (KeyError, OSError, TypeError, ValueError):
            return "it does not say which"


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
