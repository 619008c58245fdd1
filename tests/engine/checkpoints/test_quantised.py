"""Checkpoints quantised as the Hub has them: unpacked at load where transformers can, a sentence elsewhere."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, TorchAoConfig
from transformers.utils.quantization_config import QuantizationConfigMixin

from tests.engine.models import VOCAB_SIZE, change, llama, merge, save, save_adapter
from tests.engine.oracle import Oracle, uncached
from tests.engine.requests import decode, pad, plain, prompt, token_ids
from worker.engine import ModelError, Request, load_engine

WIDTH = 128
"""A block of FP8 weights."""
SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "head_dim": WIDTH // 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
Quantised: TypeAlias = Callable[[str, Tensor], dict[str, Tensor]]
"""A layer's name and weight to the tensors that stand for it."""


def fp8(name: str, weight: Tensor) -> dict[str, Tensor]:
    scale = weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
    quantised = (weight / scale).to(torch.float8_e4m3fn)
    return {f"{name}.weight": quantised, f"{name}.weight_scale_inv": scale.reshape(1, 1)}


def int8(name: str, weight: Tensor) -> dict[str, Tensor]:
    scale = weight.abs().amax(1, keepdim=True) / 127
    return {f"{name}.weight": (weight / scale).round().to(torch.int8), f"{name}.weight_scale": scale}


INT8_WEIGHTS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
METHODS: dict[str, tuple[Quantised, dict[str, object]]] = {
    "fp8": (fp8, {"activation_scheme": "dynamic", "weight_block_size": [WIDTH, WIDTH]}),
    "compressed-tensors": (
        int8,
        {
            "format": "int-quantized",
            "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": INT8_WEIGHTS}},
        },
    ),
}


def save_quantised(folder: Path, method: str, **changes: int) -> str:
    """A Llama whose layers are quantised; embeddings, norms and head are not, and are in bfloat16, as on the Hub."""
    quantise, config = METHODS[method]
    save(llama(seed=0, **(SHAPE | changes)), folder)
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        is_layer = "_proj." in name
        tensors |= quantise(name.removesuffix(".weight"), tensor) if is_layer else {name: tensor.bfloat16()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder / "config.json", quantization_config=config | {"quant_method": method})
    return str(folder)


def requests() -> list[Request]:
    methods = [plain, pad]
    return [Request(i, methods[i % 2](prompt(i, 2 + 3 * i)), strength=0.9, max_tokens=6) for i in range(6)]


def unpacked_by_hand(method: str) -> PreTrainedModel:
    """The model whose weights are what quantisation left of them."""
    quantise, _ = METHODS[method]
    model = llama(seed=0, **SHAPE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_proj." in name:
                weight, scale = quantise("x", parameter).values()
                parameter.copy_(weight.float() * scale)
            else:
                parameter.copy_(parameter.bfloat16())
    return model


@pytest.mark.parametrize("method", [*METHODS])
def test_a_quantised_base_is_decoded_with_an_unquantised_adapter_beside_it(method: str, tmp_path: Path) -> None:
    base = save_quantised(tmp_path / "base", method)
    policy = save_adapter(llama(seed=0, **SHAPE), tmp_path / "policy", seed=1)

    completions = decode(load_engine(base, policy, device="cpu", num_slots=4), requests())

    models = {"base": unpacked_by_hand(method), "policy": merge(unpacked_by_hand(method), policy)}
    oracle = Oracle({name: uncached(model) for name, model in models.items()})
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests()}
    assert load_engine(base, policy, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_a_matrix_that_ends_in_a_part_of_a_block_is_refused(tmp_path: Path) -> None:
    """transformers divides 192 rows under two scales into blocks of 96, where those of 128 were meant."""
    base = save_quantised(tmp_path, "fp8", intermediate_size=WIDTH + WIDTH // 2)

    with pytest.raises(ModelError) as refused:
        load_engine(base, device="cpu")

    assert "_proj.weight ends in a part of a block, which transformers unpacks wrongly: give the un" in str(
        refused.value
    )


def bitsandbytes_of_8_bits() -> QuantizationConfigMixin:
    return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]  # transformers leaves it untyped


def bitsandbytes_of_4_bits() -> QuantizationConfigMixin:
    options = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    return BitsAndBytesConfig(load_in_4bit=True, **options)  # type: ignore[no-untyped-call]  # as above


def torchao_int8() -> QuantizationConfigMixin:
    return TorchAoConfig(import_module("torchao.quantization").Int8WeightOnlyConfig())


@pytest.mark.parametrize(
    ("package", "method"),
    [
        ("bitsandbytes", bitsandbytes_of_8_bits),
        ("bitsandbytes", bitsandbytes_of_4_bits),
        ("torchao", torchao_int8),
    ],
)
def test_what_a_package_has_quantised_is_decoded_with_an_unquantised_adapter_beside_it(
    package: str, method: Callable[[], QuantizationConfigMixin], tmp_path: Path
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed: no dependency of this project")
    plain_path = save(llama(seed=0, **SHAPE), tmp_path / "plain")
    policy = save_adapter(llama(seed=0, **SHAPE), tmp_path / "policy", seed=1)
    quantised = AutoModelForCausalLM.from_pretrained(plain_path, quantization_config=method(), dtype=torch.float32)
    quantised.save_pretrained(tmp_path / "base")

    completions = decode(load_engine(str(tmp_path / "base"), policy, device="cpu", num_slots=4), requests())

    models = {"base": of_its_own_products(quantised), "policy": merge(of_its_own_products(quantised), policy)}
    oracle = Oracle({name: uncached(model) for name, model in models.items()})
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in requests()}


def of_its_own_products(quantised: PreTrainedModel) -> PreTrainedModel:
    """A plain model whose weights are what quantised layers make of the unit matrix, row by row in float32."""
    model = llama(seed=0, **SHAPE)
    with torch.no_grad():
        for name, module in quantised.named_modules():
            if name.endswith("_proj"):
                units = torch.eye(WIDTH)
                model.get_submodule(name).get_parameter("weight").copy_(torch.cat([*map(module, units[:, None])]).t())
    return model


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_gguf(folder: Path) -> str:
    """A Llama in one GGUF file, its layers in Q8_0; no config.json."""
    folder.mkdir()
    writer = gguf.GGUFWriter(str(folder / "tiny.gguf"), "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(2)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(WIDTH // 4)
    writer.add_vocab_size(VOCAB_SIZE)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"w{number}" for number in range(VOCAB_SIZE)])
    for name, tensor in llama(seed=0, **SHAPE).state_dict().items():
        layer, _, rest = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
        place = f"blk.{layer}.{GGUF_NAMES[rest]}" if rest in GGUF_NAMES else GGUF_NAMES[name.removesuffix(".weight")]
        array, kind = tensor.numpy(), gguf.GGMLQuantizationType.Q8_0
        if "_proj" in name:
            writer.add_tensor(f"{place}.weight", gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{place}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(folder)


def test_a_gguf_file_alone_is_a_model(tmp_path: Path) -> None:
    path = save_gguf(tmp_path / "base")
    alone = [Request(i, plain(prompt(i, 2 + 3 * i)), max_tokens=6) for i in range(4)]

    completions = decode(load_engine(path, device="cpu", num_slots=4), alone)

    model = AutoModelForCausalLM.from_pretrained(path, gguf_file="tiny.gguf", dtype=torch.float32)
    oracle = Oracle({"base": uncached(model)})
    assert token_ids(completions) == {request.request_id: oracle.answer(request).token_ids for request in alone}


@pytest.mark.parametrize(
    ("method", "name", "package"),
    [
        ("gptq", "GPTQ", "gptqmodel"),
        ("awq", "AWQ", "gptqmodel"),
        ("hqq", "HQQ", "hqq"),
        ("bitsandbytes", "bitsandbytes", "bitsandbytes"),
        ("torchao", "torchao", "torchao"),
    ],
)
def test_what_transformers_cannot_read_here_is_refused_by_what_is_missing(
    method: str, name: str, package: str, tmp_path: Path
) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    config = {"quant_method": method, "bits": 4, "group_size": 32, "zero_point": True, "quant_config": {}}
    llama(seed=0, **SHAPE).config.save_pretrained(tmp_path)
    change(tmp_path / "config.json", quantization_config=config)

    with pytest.raises(ModelError) as refused:
        load_engine(str(tmp_path), device="cpu")

    assert refused.value.code == "model_unsupported"
    assert f"quantised ({name}): pip install {package} to have them read" in str(refused.value)
