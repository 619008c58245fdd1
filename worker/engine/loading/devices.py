"""Where a model is put, and in which dtype it computes."""

import torch

from worker.engine.errors import DeviceError, DevicesError, DtypeError, TensorParallelError, first_line

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def devices_of(name: str, number: int) -> tuple[torch.device, ...]:
    """So many devices: those that are named, one by one behind commas, or the first of their kind."""
    if number < 1:
        raise TensorParallelError(tensor_parallel=number)
    names = [part.strip() for part in name.split(",")]
    if number == 1 and len(names) == 1:
        return (device_of(name),)
    if len(names) == 1:
        kind = device_of(name)
        if kind.type == "cuda" and kind.index is None:
            names = [f"cuda:{index}" for index in range(number)]
        elif kind.type == "cpu":
            names = ["cpu"] * number
    if len(names) != number:
        raise DevicesError(device=name, tensor_parallel=number)
    devices = tuple(device_of(one) for one in names)
    kinds = {device.type for device in devices}
    # transformers divides a model among devices of the kind that this torch was built for, and of no other.
    if kinds != {torch._C._get_accelerator().type}:  # noqa: SLF001 (there is no public name)
        raise DeviceError(device=name, cause="a model is divided among GPUs, or among processes where there is no GPU")
    if kinds == {"cuda"} and len({*devices}) != number:
        raise DevicesError(device=name, tensor_parallel=number)
    return devices


def device_of(name: str) -> torch.device:
    """The device of this name, which must be there; `auto` is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # a torch built without CUDA asserts
        raise DeviceError(device=name, cause=first_line(error)) from error
    if device.type == "meta":
        raise DeviceError(device=name, cause="tensors hold no numbers there")
    return device


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """The dtype of this name; `auto` is what suits the device."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise DtypeError(dtype=name)
    return _DTYPES[name]
