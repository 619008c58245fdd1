import pytest
import torch

from worker.engine.layers import huge_pages
from worker.engine.layers.huge_pages import CHUNK_BYTES, Chunks

SHAPES = [(3, 5), (1,), (0, 4), (CHUNK_BYTES // 8 + 1,), (CHUNK_BYTES // 2,), (7, 2)]


def filled(chunks: Chunks) -> list[torch.Tensor]:
    tensors = [
        chunks.empty(shape, torch.bfloat16 if number % 2 else torch.float32) for number, shape in enumerate(SHAPES)
    ]
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    return tensors


def test_tensors_lie_apart_and_outlive_one_another() -> None:
    chunks = Chunks()
    tensors = filled(chunks)
    del chunks, tensors[1]

    assert [tuple(tensor.shape) for tensor in tensors] == [SHAPES[0], *SHAPES[2:]]
    assert all(bool((tensor == number).all()) for number, tensor in zip([0, 2, 3, 4, 5], tensors, strict=True))


def test_a_system_without_huge_pages_gives_memory_as_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_ADVICE", None)

    assert [tuple(tensor.shape) for tensor in filled(Chunks())] == SHAPES
