"""The operations of kernels.c and layers.c, compiled for this processor when first asked for; tensors are their memory.

Where there is no C compiler, or no way to share torch's threads, there are none, and layers stay as they are. Knows
pointers and strides; does not know models.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from worker.engine.layers.huge_pages import Chunks

_SOURCE = Path(__file__).with_name("layers.c")
_SOURCES = (_SOURCE, *map(_SOURCE.with_name, ("kernels.c", "vectors.h", "work.h")))
_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
_OF_DTYPE = {torch.float32: (), torch.bfloat16: ("-DBFLOAT16",)}
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120
_POINTER, _LONG, _DOUBLE = ctypes.c_void_p, ctypes.c_long, ctypes.c_double
_ARGUMENTS = {
    "product": [_POINTER] * 5 + [_LONG] * 3,
    "adapt": [_POINTER] * 3 + [_LONG] * 4,
    "keep": [_POINTER] * 6 + [_LONG] * 6,
    "normalise": [_POINTER] * 3 + [_LONG] * 2 + [_DOUBLE],
    "gated": [_POINTER] * 2 + [_LONG] * 3,
    "rotate": [_POINTER] * 3 + [_LONG] * 4,
    "attend": [_POINTER] * 5 + [_LONG] * 7 + [_DOUBLE, _LONG],
}
LARGEST_HEAD = 256
_WEIGHTS = Chunks()


@dataclass(frozen=True, slots=True)
class Update:
    """An adapted layer's part of a row, and the second halves of its adapters."""

    out: int
    """Column of the product at which the layer's output begins."""
    low: int
    """Column of the product at which its A x begins."""
    up: Tensor
    """B of all adapters, [ranks, out]."""
    owner: Tensor
    """[ranks], which adapter's."""


class _UpdateStruct(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("out", "width", "low", "ranks")),
        *((name, _POINTER) for name in ("up", "owner")),
    )


class Updates:
    """The adapters of the layers that are one product, as the kernel reads them."""

    def __init__(self, updates: Sequence[Update]) -> None:
        self._updates = updates  # whose memory it is
        self.structs = (_UpdateStruct * len(updates))(
            *(
                _UpdateStruct(one.out, one.up.shape[1], one.low, len(one.up), one.up.data_ptr(), one.owner.data_ptr())
                for one in updates
            )
        )


@dataclass(frozen=True, slots=True)
class Branches:
    """What tokens see of their rows where texts branch: their first columns, then columns one by one."""

    trunks: Tensor
    """[tokens], how many of the row's first columns each sees."""
    starts: Tensor
    """[tokens + 1], where in `paths` the others of each token begin."""
    paths: Tensor
    """Columns in the order of each token's text, its own the last."""

    def of(self, tokens: slice) -> "Branches":
        """Those of some tokens of the line, from one to before another."""
        return Branches(self.trunks[tokens], self.starts[tokens.start : tokens.stop + 1], self.paths)


class PlacesStruct(ctypes.Structure):
    """`struct places` of kernels.c."""

    _fields_ = tuple((name, _POINTER) for name in ("rows", "columns", "trunks", "starts", "paths"))


@dataclass(frozen=True, slots=True)
class Places:
    """Where tokens go in the cache: row and column, [tokens] each. A token sees its row up to there, or its branch."""

    rows: Tensor
    columns: Tensor
    branches: Branches | None = None

    def of(self, tokens: slice) -> "Places":
        """Those of some tokens of the line, from one to before another."""
        branches = None if self.branches is None else self.branches.of(tokens)
        return Places(self.rows[tokens], self.columns[tokens], branches)

    @property
    def struct(self) -> PlacesStruct:
        """For kernels; it is valid as long as this object is."""
        branches = self.branches
        of_branches = () if branches is None else (branches.trunks, branches.starts, branches.paths)
        return PlacesStruct(*(tensor.data_ptr() for tensor in (self.rows, self.columns, *of_branches)))


class Kernels:
    """The kernels for one dtype; tensors are on the CPU, contiguous unless their stride is asked for."""

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.library = library
        for name, arguments in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
        self.lanes = int(library.lanes())
        """Widths that are handed to anything but `product` are multiples of it."""
        self.panel = int(library.panel())
        self.depth = int(library.depth())
        """So many elements of a row share a lane of a panel: `in` is a multiple of it."""

    def packed(self, matrix: Tensor) -> Tensor:
        """[out, in] as panels [out / panel, in / depth, panel, depth], the last filled up with zeros."""
        num_out, num_in = matrix.shape
        matrix = torch.nn.functional.pad(matrix, (0, 0, 0, -num_out % self.panel))
        panels = matrix.view(-1, self.panel, num_in // self.depth, self.depth).transpose(1, 2)
        return _WEIGHTS.empty(panels.shape, panels.dtype).copy_(panels)

    def product(self, x: Tensor, panels: Tensor, bias: Tensor | None, num_out: int) -> Tensor:
        """X [m, in] W^T + bias, float32 and as long as all panels: [m, out]."""
        num_rows, num_in = x.shape
        y = x.new_empty(num_rows, num_out)
        scratch = y if self.dtype == torch.float32 else torch.empty(num_rows, num_in)
        self.library.product(
            x.data_ptr(),
            panels.data_ptr(),
            None if bias is None else bias.data_ptr(),
            y.data_ptr(),
            scratch.data_ptr(),
            num_rows,
            num_in,
            num_out,
        )
        return y

    def adapt(self, y: Tensor, updates: "Updates", excluded: Tensor | None) -> None:
        """Rows [m, out and ranks]: out += low up, for ranks whose owner does not exclude the token [m, adapters]."""
        self.library.adapt(
            y.data_ptr(),
            updates.structs,
            None if excluded is None else excluded.data_ptr(),
            len(updates.structs),
            len(y),
            y.stride(0),
            0 if excluded is None else excluded.shape[1],
        )

    def keeps(self, states: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor]) -> bool:
        """Whether `keep` writes tensors of these layouts."""
        (key, value), (keys, _) = states, cache
        is_alike = key.stride() == value.stride() and key.shape[1] == keys.shape[1]
        return is_alike and _heads_lie_together(key) and self.attends(key, *cache)

    def keep(self, states: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor], rows: Tensor, columns: Tensor) -> None:
        """Write keys and values [m, heads, size], of which `keeps` is true, to their places [m] in the cache."""
        (key, value), (keys, values) = states, cache
        self.library.keep(
            key.data_ptr(),
            value.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            rows.data_ptr(),
            columns.data_ptr(),
            *key.shape,
            key.stride(0),
            keys.stride(0),
            keys.stride(1),
        )

    def normalise(self, x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
        """G x / sqrt(mean(x^2) + eps) of [..., d]."""
        y = torch.empty_like(x)
        self.library.normalise(x.data_ptr(), gain.data_ptr(), y.data_ptr(), x.numel() // len(gain), len(gain), epsilon)
        return y

    def gated(self, x: Tensor, num_out: int) -> Tensor:
        """silu(gate) up of rows [gate, up, ...]: [m, out]."""
        y = x.new_empty(len(x), num_out)
        self.library.gated(x.data_ptr(), y.data_ptr(), len(x), num_out, x.stride(0))
        return y

    def rotate(self, x: Tensor, cosine: Tensor, sine: Tensor, num_heads: int) -> None:
        """Turn the first heads of rows [m, ...] in place, by cos and sin [m, head size]."""
        num_rows, size = cosine.shape
        self.library.rotate(x.data_ptr(), cosine.data_ptr(), sine.data_ptr(), num_rows, num_heads, size, x.stride(0))

    def attends(self, query: Tensor, keys: Tensor, values: Tensor) -> bool:
        """Whether `attend` reads tensors of these shapes, and a cache of this layout."""
        size = query.shape[-1]
        return (
            keys.shape == values.shape
            and keys.stride() == values.stride()
            and keys.stride()[2:] == (size, 1)
            and keys.dtype == values.dtype == query.dtype == self.dtype
            and size % self.lanes == 0
            and size <= LARGEST_HEAD
        )

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        places: Places,
        *,
        scale: float,
        window: int | None,
    ) -> Tensor:
        """Query [n, heads, size] over [rows, key heads, capacity, size], each over what its place shows it of them."""
        num_tokens, num_heads, size = query.shape
        if not _heads_lie_together(query):  # models that turn a part of each head, or norm it, leave them so
            query = query.contiguous()
        y = query.new_empty(query.shape)
        self.library.attend(
            query.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            y.data_ptr(),
            ctypes.byref(places.struct),
            num_tokens,
            num_heads,
            keys.shape[1],
            size,
            query.stride(0),
            keys.stride(0),
            keys.stride(1),
            scale,
            window or 0,
        )
        return y


def _heads_lie_together(states: Tensor) -> bool:
    """Whether a token's heads lie one behind the other in [m, heads, size]."""
    return states.stride()[1:] == (states.shape[-1], 1)


@cache
def kernels(dtype: torch.dtype) -> Kernels | None:
    """The kernels of a dtype; None where it has none, or they cannot be compiled here."""
    library = _library(_OF_DTYPE[dtype]) if dtype in _OF_DTYPE else None
    return None if library is None else Kernels(library, dtype)


def kernels_on(dtype: torch.dtype, device: torch.device) -> Kernels | None:
    """The kernels of a dtype on a CPU, as `kernels` gives them; None on other devices."""
    return kernels(dtype) if device.type == "cpu" else None


def _library(more: tuple[str, ...]) -> ctypes.CDLL | None:
    compiler = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    if compiler is None or platform.system() != "Linux":
        return None
    try:
        return ctypes.CDLL(str(_built(compiler, more)))
    except (OSError, subprocess.SubprocessError):
        return None


def _built(compiler: str, more: tuple[str, ...]) -> Path:
    """The shared library, of an earlier start where source, compiler and processor are the same."""
    command = [compiler, *_FLAGS, *more]
    asked = (*(source.read_bytes() for source in _SOURCES), repr(command).encode(), _processor().encode())
    digest = hashlib.sha256(b"\0".join(asked)).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "padserve"
    library = folder / f"kernels-{digest}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            fresh = Path(temporary) / library.name
            # torch has loaded its OpenMP by this name: the threads are the same.
            subprocess.run(  # noqa: S603 (a compiler on the path, a source of ours)
                [*command, str(_SOURCE), "-lm", "-o", str(fresh)], check=True, capture_output=True, timeout=_SECONDS
            )
            fresh.replace(library)  # whoever starts at the same time sees all of it or nothing
    return library


def _processor() -> str:
    """The features of this processor, which decide what -march=native makes of the source."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
