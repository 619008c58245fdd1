"""The vocabulary head of each kind, against its formula, and its columns against its logits."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.engine.models import VOCAB_SIZE, merge, save_adapter, tiny
from worker.engine.checkpoints.adapters import stack_adapters
from worker.engine.layers.head import LogitScale, ValueHead, VocabularyHead

WIDTH, NUM_ROWS = 32, 9
HIDDEN = torch.randn(NUM_ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
TOKEN_IDS = torch.randint(VOCAB_SIZE, (NUM_ROWS, 6), generator=torch.Generator().manual_seed(1))

Formula = Callable[[Tensor], Tensor]


def same(logits: Tensor) -> Tensor:
    return logits


KINDS: dict[str, tuple[str, Formula]] = {
    "plain": ("llama", same),
    "bias": ("phi", same),
    "tied": ("gpt2", same),
    "soft cap": ("gemma2", lambda z: 4.0 * torch.tanh(z / 4.0)),
    "scale": ("cohere", lambda z: 0.3 * z),
    "divisor": ("granite", lambda z: z / 4.0),
}


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("valued", [False, True], ids=["", "with a value head"])
def test_the_head_of_each_kind_equals_its_formula(kind: str, *, valued: bool) -> None:
    model_type, formula = KINDS[kind]
    model = tiny(model_type, seed=0)
    weight = model.get_parameter("lm_head.weight")
    bias = torch.randn(VOCAB_SIZE) if kind == "bias" else None
    if bias is not None:
        model.get_parameter("lm_head.bias").copy_(bias)
    head, hidden = VocabularyHead(model), HIDDEN
    if valued:
        weight_of_value, bias_of_value = torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)
        head.values = {0: ValueHead(weight_of_value, bias_of_value)}
        hidden = HIDDEN @ weight_of_value.t() + bias_of_value

    logits, columns = head.logits(HIDDEN), head.columns(HIDDEN, TOKEN_IDS)

    expected = formula(functional.linear(hidden, weight, bias))
    close(logits, expected)
    close(columns, expected.gather(1, TOKEN_IDS))


@torch.inference_mode()
@pytest.mark.parametrize("bias", [None, torch.ones(WIDTH)], ids=["no bias", "bias"])
def test_a_value_head_is_an_affine_map_in_front_of_the_head(bias: Tensor | None) -> None:
    plain, valued = (VocabularyHead(tiny("llama", seed=0)) for _ in range(2))
    valued.values = {0: ValueHead(2 * torch.eye(WIDTH), bias)}

    logits = valued.logits(HIDDEN)

    close(logits, plain.logits(2 * HIDDEN + (0 if bias is None else bias)))


@torch.inference_mode()
@pytest.mark.parametrize("model_type", ["llama", "phi"])
@pytest.mark.parametrize("num_adapters", [1, 2])
@pytest.mark.parametrize("valued", [False, True], ids=["", "with a value head"])
def test_adapters_of_the_head_reach_their_own_rows_only(
    tmp_path: Path, model_type: str, num_adapters: int, *, valued: bool
) -> None:
    model = tiny(model_type, seed=0)
    paths = {}
    for seed in range(1, num_adapters + 1):
        folder = tmp_path / str(seed)
        paths[f"adapter_{seed}"] = save_adapter(tiny(model_type, seed=0), folder, seed, target_modules=["lm_head"])
    plain = VocabularyHead(tiny(model_type, seed=0))
    merged = [plain, *(VocabularyHead(merge(tiny(model_type, seed=0), path)) for path in paths.values())]

    adapters = stack_adapters(model, "base", paths)
    assert adapters is not None
    head = VocabularyHead(model)
    if valued:
        head.values = {0: ValueHead(torch.randn(WIDTH, WIDTH), torch.randn(WIDTH))}
        for each in merged:
            each.values = head.values
    of_row = [row % (num_adapters + 1) for row in range(NUM_ROWS)]
    adapters.select(torch.tensor(of_row), set(of_row))

    expected = torch.stack([merged[adapter].logits(HIDDEN)[row] for row, adapter in enumerate(of_row)])
    assert head.tells_rows_apart
    close(head.logits(HIDDEN), expected)
    close(head.columns(HIDDEN, TOKEN_IDS), expected.gather(1, TOKEN_IDS))


@torch.inference_mode()
def test_an_adapted_head_without_adapted_rows_is_the_plain_head(tmp_path: Path) -> None:
    model, plain = tiny("llama", seed=0), VocabularyHead(tiny("llama", seed=0))
    adapter = save_adapter(tiny("llama", seed=0), tmp_path, seed=1, target_modules=["lm_head"])
    adapters = stack_adapters(model, "base", {"adapter_1": adapter})
    assert adapters is not None

    head = VocabularyHead(model)
    adapters.select(torch.zeros(NUM_ROWS, dtype=torch.long), {0})

    close(head.logits(HIDDEN), plain.logits(HIDDEN))
    close(head.columns(HIDDEN, TOKEN_IDS), plain.columns(HIDDEN, TOKEN_IDS))


def test_the_scale_is_read_off_the_configuration() -> None:
    scales = {name: LogitScale.of(tiny(name, seed=0).config) for name in ("llama", "gemma2", "cohere", "granite")}

    assert scales == {
        "llama": LogitScale(),
        "gemma2": LogitScale(softcap=4.0),
        "cohere": LogitScale(factor=0.3),
        "granite": LogitScale(factor=0.25),
    }


@torch.inference_mode()
def test_each_row_meets_the_value_head_of_its_adapter_or_else_the_models() -> None:
    heads = {number: ValueHead(torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)) for number in (0, 2)}
    head = VocabularyHead(tiny("llama", seed=0))
    of_each = {number: VocabularyHead(tiny("llama", seed=0)) for number in heads}
    for number, single in of_each.items():
        single.values = {0: heads[number]}
    adapters = torch.arange(NUM_ROWS) % 3

    head.values = heads
    logits, columns = head.logits(HIDDEN, adapters), head.columns(HIDDEN, TOKEN_IDS, adapters)

    for row, adapter in enumerate(adapters.tolist()):
        meant = of_each[2 if adapter == 2 else 0]
        close(logits[row : row + 1], meant.logits(HIDDEN[row : row + 1]))
        close(columns[row : row + 1], meant.columns(HIDDEN[row : row + 1], TOKEN_IDS[row : row + 1]))
