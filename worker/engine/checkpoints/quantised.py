"""Quantised checkpoints: their weights are unpacked at load wherever transformers can do that on this machine.

What is unpacked is a matrix like any other: adapters are stacked on it, and the kernels of the engine run it. It takes
the memory of a model that was never quantised. What cannot be unpacked stays as transformers runs it.
"""

import inspect
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any  # a configuration holds whatever its JSON held

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from worker.engine.errors import first_line

_IN_WORDS = {"fp8": "FP8", "gptq": "GPTQ", "awq": "AWQ", "gguf": "GGUF", "hqq": "HQQ"}
_PLAIN = (torch.float32, torch.bfloat16, torch.float16)
_FP8 = "F8_E4M3"  # as safetensors calls it
# By which package transformers reads each method.
_PACKAGES = {
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "gptq": "gptqmodel",
    "hqq": "hqq",
    "torchao": "torchao",
}


def method_of(config: PreTrainedConfig) -> str | None:
    """What a checkpoint calls the way that its weights are quantised in; None where they are not."""
    stated = _stated(config)
    return None if stated is None else str(stated.get("quant_method", "an unnamed method"))


def missing_package(config: PreTrainedConfig) -> str | None:
    """What must be installed before transformers can read such weights, if something must."""
    method = method_of(config)
    package = _PACKAGES.get(method or "")
    if package is None or find_spec(package.replace("-", "_")) is not None:
        return None
    name = _IN_WORDS.get(str(method), method)
    return f"its weights are quantised ({name}): pip install {package} to have them read, or give unquantised ones"


def why_not_whole_blocks(config: PreTrainedConfig, weight_files: Iterable[Path]) -> str | None:
    """What is said of FP8 matrices that end in a part of a block: transformers takes all blocks for smaller ones."""
    block = (_stated(config) or {}).get("weight_block_size")
    if method_of(config) != "fp8" or not block:
        return None
    for file in weight_files:
        if file.suffix != ".safetensors":
            continue
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (no mapping)
                matrix = weights.get_slice(name)
                sizes = zip(matrix.get_shape(), block, strict=False)
                if matrix.get_dtype() == _FP8 and any(size > part and size % part for size, part in sizes):
                    what = f"its weights are quantised (FP8), and {name} ends in a part of a block"
                    return f"{what}, which transformers unpacks wrongly: give the unquantised checkpoint"
    return None


def unpack_at_load(config: PreTrainedConfig) -> None:
    """Ask for ordinary weights in this configuration, where its method has that choice."""
    stated = _stated(config)
    known = AUTO_QUANTIZATION_CONFIG_MAPPING.get(str(stated.get("quant_method")) if stated else "")
    if stated is not None and known is not None and "dequantize" in inspect.signature(known).parameters:
        config.quantization_config = stated | {"dequantize": True}


def unpacked(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The quantised model with ordinary weights where it can have them, in this dtype."""
    if getattr(model, "hf_quantizer", None) is None:  # unpacked while being read, and the rest left in its dtype
        _convert(model, dtype)
        return model
    try:
        model = model.dequantize(dtype)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    except NotImplementedError:  # of the methods that know no way back
        _unpack_tensors(model, dtype)
    return model


def why_unreadable(method: str, error: Exception) -> str:
    """What is in the way of a quantised checkpoint, and what to do."""
    name = _IN_WORDS.get(method, method)
    return (
        f"its weights are quantised ({name}), and transformers cannot read them here ({first_line(error)}): "
        "install what is missing, or give the unquantised checkpoint"
    )


def _stated(config: PreTrainedConfig) -> dict[str, Any] | None:
    stated = getattr(config, "quantization_config", None)
    if stated is None or isinstance(stated, dict):
        return stated
    return dict(stated.to_dict())


def _convert(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Bring all parameters to one dtype, in place, but those that the model wants in float32, as transformers does."""
    wide = {*(model._keep_in_fp32_modules_strict or ())}  # noqa: SLF001 (there is no public name)
    if dtype == torch.float16:
        wide |= {*(model._keep_in_fp32_modules or ())}  # noqa: SLF001 (as above)
    for name, parameter in model.named_parameters():
        if parameter.dtype in _PLAIN:
            parameter.data = parameter.data.to(torch.float32 if any(part in name for part in wide) else dtype)


def _unpack_tensors(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Unpack, in place, layers that are ordinary but for their weight, a tensor of a quantised type."""
    for module in model.modules():
        if (
            type(module) is nn.Linear
            and hasattr(module.weight, "dequantize")
            and type(module.weight.data) is not torch.Tensor
        ):
            plain = module.weight.dequantize().to(dtype)
            module.weight = nn.Parameter(plain, requires_grad=False)
