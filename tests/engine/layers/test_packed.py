import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.engine.models import gpt2, llama, tiny
from worker.engine.layers.joined import pack
from worker.engine.layers.native import kernels
from worker.engine.layers.packed import PanelLinear, PrepackedLinear, can_pack, laid_out, plain_of

SIZES = [(32, 97), (64, 64), (200, 333), (768, 192)]
OWN = [dtype for dtype in (torch.float32, torch.bfloat16) if kernels(dtype)]
# Processors without kernels for bfloat16 cannot pack it by oneDNN's, and do not.
ONEDNN = [dtype for dtype in (torch.float32, torch.bfloat16) if can_pack(dtype, torch.device("cpu"))]
KINDS = [*((PanelLinear, dtype) for dtype in OWN), *((PrepackedLinear, dtype) for dtype in ONEDNN)]
NUM_NEIGHBOURS = [1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 64, 100, 129]


def layer_of(num_in: int, num_out: int, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(num_in + num_out)
    return nn.Linear(num_in, num_out, bias=bias)


def packed_by(kind: type[nn.Module], layer: nn.Linear | Conv1D) -> PrepackedLinear | PanelLinear:
    own = kernels(layer.weight.dtype)
    return PanelLinear(own, *plain_of(layer)) if own and kind is PanelLinear else PrepackedLinear(*plain_of(layer))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("num_in", "num_out"), SIZES)
@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_a_packed_layer_equals_the_plain_one(
    kind: type[nn.Module], dtype: torch.dtype, num_in: int, num_out: int, *, bias: bool
) -> None:
    layer = layer_of(num_in, num_out, bias=bias).to(dtype)
    x = torch.randn(1, 37, num_in).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2

    packed = packed_by(kind, layer)

    with torch.inference_mode():
        torch.testing.assert_close(packed(x), layer(x), atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(packed(x[0]), layer(x[0]), atol=tolerance, rtol=tolerance)
    assert torch.equal(packed.weight, layer.weight)


@pytest.mark.parametrize("dtype", OWN)
def test_a_layer_of_odd_width_is_never_cut_short(dtype: torch.dtype) -> None:
    """Panels of bfloat16 hold pairs of a row's elements: what comes in no pairs is left to others."""
    layer = layer_of(33, 64).to(dtype)
    x = torch.randn(5, 33).to(dtype)

    packed = laid_out(*plain_of(layer)) or layer

    with torch.inference_mode():
        torch.testing.assert_close(packed(x), layer(x), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("kind", [PanelLinear, PrepackedLinear])
def test_a_packed_convolution_equals_the_plain_one(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layer = Conv1D(nf=97, nx=32)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    layer.bias.data.normal_()
    x = torch.randn(1, 9, 32)

    packed = packed_by(kind, layer)

    with torch.inference_mode():
        torch.testing.assert_close(packed(x), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("num_in", "num_out"), SIZES)
@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_a_row_has_the_same_bits_beside_any_number_of_neighbours(
    kind: type[nn.Module], dtype: torch.dtype, num_in: int, num_out: int
) -> None:
    packed = packed_by(kind, layer_of(num_in, num_out).to(dtype))
    x = torch.randn(1, max(NUM_NEIGHBOURS), num_in).to(dtype)

    with torch.inference_mode():
        products = {num: packed(x[:, :num].contiguous()) for num in NUM_NEIGHBOURS}

    whole = products[max(NUM_NEIGHBOURS)]
    assert [num for num, product in products.items() if not torch.equal(product, whole[:, :num])] == []


def test_every_layer_below_the_head_is_packed_and_nothing_changes() -> None:
    token_ids = torch.arange(11)[None]
    for model in (llama(seed=0), gpt2(seed=0), tiny("phi", seed=0)):
        with torch.inference_mode():
            expected = model(input_ids=token_ids, use_cache=False).logits

            pack(model)

            torch.testing.assert_close(model(input_ids=token_ids, use_cache=False).logits, expected, atol=1e-3, rtol=0)
        plain = [path for path, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
        assert plain == ["lm_head"]


def test_half_precision_and_other_devices_are_not_packed() -> None:
    assert not can_pack(torch.float16, torch.device("cpu"))
    assert not can_pack(torch.float32, torch.device("cuda"))
