"""The kernels of a processor against the formulas they stand for; without a compiler there are none to try."""

from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.layers import native
from worker.engine.layers.native import Branches, Kernels, Places, Update, Updates, kernels

DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if kernels(dtype)]
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 8e-3}  # of a result rounded once


def own(dtype: torch.dtype) -> Kernels:
    found = kernels(dtype)
    assert found is not None
    return found


def drawn(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def assert_near(result: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[result.dtype]
    torch.testing.assert_close(result.double(), expected.double(), atol=8 * tolerance, rtol=8 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adapters_touch_the_tokens_that_use_them_and_no_others(dtype: torch.dtype) -> None:
    y, up = drawn(7, 64, dtype=dtype), drawn(6, 48, dtype=dtype)
    owner, excluded = torch.tensor([0, 0, 1, 1, 1, 1]), drawn(7, 2, dtype=torch.float32) > 0
    y[3, 50] = torch.inf  # A x of a token
    excluded[3] = True
    before, allowed = y.clone(), ~excluded[:, owner]
    updates = Updates([Update(0, 48, up[:, :16].contiguous(), owner), Update(16, 54, up[:, 16:].contiguous(), owner)])

    own(dtype).adapt(y, updates, excluded)

    first, second = (torch.where(allowed, before[:, start : start + 6].double(), 0) for start in (48, 54))
    change = torch.cat([first @ up[:, :16].double(), second @ up[:, 16:].double()], dim=1)
    assert_near(y[:, :48], before[:, :48].double() + change)
    assert torch.equal(y[3, :48], before[3, :48])
    assert torch.equal(y[:, 48:], before[:, 48:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_norm_is_the_formula(dtype: torch.dtype) -> None:
    x, gain = drawn(2, 5, 96, dtype=dtype) * 3, drawn(96, dtype=dtype)

    result = own(dtype).normalise(x, gain, 1e-5)

    wide = x.double()
    assert_near(result, wide * (wide.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gain.double())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gate_is_the_formula_at_any_size_of_number(dtype: torch.dtype) -> None:
    x = drawn(5, 80, dtype=dtype)
    x[0, :8] = torch.tensor([-1e4, -100, -88, -20, 20, 88, 100, 1e4])
    x[1, 3] = torch.nan

    result = own(dtype).gated(x, 32)

    expected = functional.silu(x[:, :32].double()) * x[:, 32:64].double()
    torch.testing.assert_close(result.double(), expected, atol=1e-4, rtol=8 * TOLERANCE[dtype], equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_heads_are_turned_and_the_others_left(dtype: torch.dtype) -> None:
    x, angles = drawn(6, 5 * 32, dtype=dtype), drawn(6, 16, dtype=torch.float32).repeat(1, 2)
    cosine, sine, before = angles.cos().to(dtype), angles.sin().to(dtype), x.clone()

    own(dtype).rotate(x, cosine, sine, 3)

    heads = before.view(6, 5, 32)[:, :3].double()
    turned = torch.cat([-heads[..., 16:], heads[..., :16]], dim=-1)
    expected = heads * cosine[:, None].double() + turned * sine[:, None].double()
    assert_near(x.view(6, 5, 32)[:, :3], expected)
    assert torch.equal(x[:, 96:], before[:, 96:])


@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize("size", [32, 80])
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_row_attends_to_its_own_columns_and_none_behind_them(
    dtype: torch.dtype, size: int, window: int | None
) -> None:
    query = drawn(6, 7 * size, dtype=dtype)[:, : 6 * size].view(6, 6, size)
    keys, values = drawn(6, 2, 200, size, dtype=dtype), drawn(6, 2, 200, size, dtype=dtype).flip(0)
    rows, columns = torch.tensor([2, 0, 3, 1, 5, 4]), torch.tensor([0, 3, 63, 64, 130, 199])
    for row, last in zip(rows, columns, strict=True):
        keys[row, :, last + 1 :] = values[row, :, last + 1 :] = torch.nan  # of nobody's concern

    result = own(dtype).attend(query, keys, values, Places(rows, columns), scale=0.3, window=window)
    head_by_head = query.transpose(0, 1).contiguous().transpose(0, 1)

    assert own(dtype).attends(query, keys, values)
    again = own(dtype).attend(head_by_head, keys, values, Places(rows, columns), scale=0.3, window=window)
    assert torch.equal(again, result)
    for token, (row, last) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        seen = slice(max(0, last + 1 - window) if window else 0, last + 1)
        k, v = (whole[row, :, seen].double().repeat_interleave(3, dim=0) for whole in (keys, values))
        scores = torch.einsum("hs,hks->hk", query[token].double(), k) * 0.3
        assert_near(result[token], torch.einsum("hk,hks->hs", scores.softmax(-1), v))


@pytest.mark.parametrize("window", [None, 1, 5, 90])
@pytest.mark.parametrize("size", [32, 80])
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_texts_branch_each_token_attends_to_its_own_branch(
    dtype: torch.dtype, size: int, window: int | None
) -> None:
    trunks = [0, 9, 9, 9, 130]
    paths = [[2], [], [9, 13], [9, 11, 12], [*range(132, 276, 2)]]  # the last has more than are looked at in one go
    query = drawn(5, 6, size, dtype=dtype)
    keys, values = drawn(3, 2, 280, size, dtype=dtype), drawn(3, 2, 280, size, dtype=dtype).flip(0)
    rows = torch.tensor([1, 2, 2, 2, 0])
    columns = torch.tensor([(*range(trunk), *path)[-1] for trunk, path in zip(trunks, paths, strict=True)])
    starts = torch.tensor([0, *accumulate(map(len, paths))])
    branches = Branches(torch.tensor(trunks), starts, torch.tensor([place for path in paths for place in path]))
    places = Places(rows, columns, branches)

    result = own(dtype).attend(query, keys, values, places, scale=0.3, window=window)
    some = own(dtype).attend(query[1:4], keys, values, places.of(slice(1, 4)), scale=0.3, window=window)

    assert torch.equal(some, result[1:4])
    for token, (row, trunk, path) in enumerate(zip(rows.tolist(), trunks, paths, strict=True)):
        seen = [*range(trunk), *path][-(window or 0) :]
        k, v = (whole[row, :, seen].double().repeat_interleave(3, dim=0) for whole in (keys, values))
        scores = torch.einsum("hs,hks->hk", query[token].double(), k) * 0.3
        assert_near(result[token], torch.einsum("hk,hks->hs", scores.softmax(-1), v))


@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_and_values_go_to_their_places_and_nowhere_else(dtype: torch.dtype) -> None:
    line = drawn(5, 6 * 32, dtype=dtype).view(5, 6, 32)
    states, cache = (line[:, 2:4], line[:, 4:]), (drawn(4, 2, 9, 32, dtype=dtype), drawn(4, 2, 9, 32, dtype=dtype))
    rows, columns = torch.tensor([0, 3, 1, 1, 2]), torch.tensor([8, 0, 4, 5, 2])
    expected = [
        whole.index_put((rows, columns), of_line)
        for whole, of_line in zip((each.transpose(1, 2) for each in cache), states, strict=True)
    ]

    assert own(dtype).keeps(states, cache)
    own(dtype).keep(states, cache, rows, columns)

    assert [torch.equal(one.transpose(1, 2), other) for one, other in zip(cache, expected, strict=True)] == [True, True]


def test_bfloat16_is_rounded_to_the_nearest() -> None:
    if torch.bfloat16 not in DTYPES:
        return
    x, gain = drawn(1, 512, dtype=torch.bfloat16), torch.ones(512, dtype=torch.bfloat16)

    result = own(torch.bfloat16).normalise(x, gain, 0.0)

    wide = x.float()
    exact = wide * (1 / wide.square().mean().sqrt())
    assert (result != exact.bfloat16()).sum() <= 2  # where the sum's own rounding decides


def test_without_a_compiler_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert native._library(()) is None  # noqa: SLF001 (what `kernels` remembers for good)


def test_a_compiler_that_fails_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert native._library(()) is None  # noqa: SLF001 (as above)
