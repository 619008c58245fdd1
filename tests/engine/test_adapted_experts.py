"""Adapters on the experts and routers of mixtures, against what PEFT makes of them in forwards without a cache."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from bench.architectures.tiny import tiny
from tests.engine.models import Family, merge, peft_on_newer_transformers, read, save, save_adapter
from tests.engine.models import tiny as of_size
from tests.engine.oracle import Oracle, uncached
from tests.engine.requests import decode, mixed_batch, pad, pad_with_reference, plain, prompt, token_ids
from tests.engine.test_scoring import expected, scores, text
from worker.engine import ModelError, Request, load_engine
from worker.engine.layers.adapted import adapt_rows
from worker.engine.layers.experts import RowAdaptedExperts, StackUpdate

EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
# Each with code of its own: who routes, how matrices lie, what stands between them, and what is beside the experts.
ADAPTED: dict[str, list[str]] = {
    "mixtral": [*EXPERTS, "gate.weight"],
    "qwen3_moe": [*EXPERTS, "gate.weight"],
    "qwen2_moe": [*EXPERTS, "gate.weight"],
    "olmoe": [*EXPERTS, "gate.weight"],
    "granitemoe": [*EXPERTS, "router.weight"],
    "phimoe": [*EXPERTS, "router.weight"],
    "glm4_moe": [*EXPERTS, "gate.weight"],
    "deepseek_v2": [*EXPERTS, "gate.weight"],
    "deepseek_v3": [*EXPERTS, "gate.weight"],
    "ernie4_5_moe": [*EXPERTS, "gate.weight"],
    "gpt_oss": [*EXPERTS, "router.weight"],
    "llama4_text": [*EXPERTS, "router.weight"],
    "qwen3_next": [*EXPERTS, "gate.weight"],
    "jamba": [*EXPERTS, "router.weight"],
    "nemotron_h": ["experts.up_proj", "experts.down_proj", "gate.weight"],
}
_ATTENTION = {"deepseek_v2": ["q_a_proj", "o_proj"], "deepseek_v3": ["q_a_proj", "o_proj"]}


def adapter(model: PreTrainedModel, folder: Path, seed: int = 1, **changes: Any) -> str:  # noqa: ANN401 (PEFT's)
    """On attention and experts, if nothing else is said."""
    kind = model.config.model_type
    stated = {
        "r": 3,
        "lora_alpha": 6,
        "target_modules": _ATTENTION.get(kind, ["q_proj", "v_proj"]),
        "target_parameters": ADAPTED.get(kind, EXPERTS),
    }
    return save_adapter(model, folder, seed, **(stated | changes))


def family(kind: str, folder: Path, **changes: Any) -> Family:  # noqa: ANN401 (as above)
    base = save(tiny(kind), folder / "base")
    policy = adapter(tiny(kind), folder / "policy", **changes)
    return Family(base, policy, save(tiny(kind, seed=2), folder / "reference"))


def equal_the_oracle(family: Family, requests: list[Request], **options: Any) -> bool:  # noqa: ANN401 (the engine's)
    """Whether an engine that reads prompts in pieces, beside rows that decode, writes what PEFT and the base would."""
    few = {"num_slots": 3, "prefill_budget": 7, "max_length": 128} | options
    engine = load_engine(family.base, family.policy, family.reference, device="cpu", dtype="float32", **few)
    oracle = Oracle.of(family)
    answers = {request.request_id: oracle.answer(request).token_ids for request in requests}
    return token_ids(decode(engine, requests)) == answers


def requests_of_all_methods() -> list[Request]:
    """Unguided and guided ones, whose rows stand in the same steps."""
    return mixed_batch(max_tokens=6)[:10]


@pytest.mark.parametrize("kind", ADAPTED)
def test_guided_and_unguided_requests_equal_the_oracle(kind: str, tmp_path: Path) -> None:
    assert equal_the_oracle(family(kind, tmp_path), requests_of_all_methods())


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": [], "target_parameters": ["experts.down_proj"]},
        {"target_modules": [], "target_parameters": ["experts.gate_up_proj"]},
        {"target_modules": [], "target_parameters": ["gate.weight"]},
        {"target_parameters": [*EXPERTS, "q_proj.weight"], "target_modules": ["v_proj"]},
        {"rank_pattern": {"experts.down_proj": 9}, "alpha_pattern": {"gate_up_proj": 1}, "use_rslora": True},
        {"layers_to_transform": [1], "target_parameters": ["1.mlp.experts.down_proj"]},
    ],
    ids=[
        "down alone",
        "up alone",
        "the router alone",
        "a layer's tensor",
        "scales and ranks of their own",
        "one layer",
    ],
)
def test_any_of_its_tensors_may_be_adapted(changes: dict[str, Any], tmp_path: Path) -> None:
    assert equal_the_oracle(family("mixtral", tmp_path, **changes), requests_of_all_methods())


@pytest.mark.parametrize(
    "of_the_reference",
    [{"r": 9}, {"target_modules": ["o_proj"], "target_parameters": None}],
    ids=["on the same", "on attention"],
)
def test_two_adapters_stand_in_one_forward(of_the_reference: dict[str, Any], tmp_path: Path) -> None:
    of_one = family("qwen3_moe", tmp_path)
    both = Family(of_one.base, of_one.policy, adapter(tiny("qwen3_moe"), tmp_path / "second", 7, **of_the_reference))
    requests = [Request(i, pad_with_reference(prompt(i, 3 + 4 * i)), strength=0.7, max_tokens=6) for i in range(4)]
    models = {"base": read(both.base)} | {
        name: merge(read(both.base), path) for name, path in (("policy", both.policy), ("reference", both.reference))
    }

    engine = load_engine(both.base, both.policy, both.reference, device="cpu", num_slots=3, max_length=128)

    oracle = Oracle({name: uncached(model) for name, model in models.items()})
    answers = {request.request_id: oracle.answer(request).token_ids for request in requests}
    assert token_ids(decode(engine, requests)) == answers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_without_an_adapter_keep_the_bits_of_experts_without_one(dtype: torch.dtype, tmp_path: Path) -> None:
    of_one = family("mixtral", tmp_path)
    plain = read(of_one.base).to(dtype)  # type: ignore[arg-type]  # its decorator hides the signature
    with peft_on_newer_transformers():
        adapted = PeftModel.from_pretrained(read(of_one.base).to(dtype), of_one.policy).get_base_model()  # type: ignore[arg-type]  # as above
    rows = adapt_rows(adapted, ["default"])  # type: ignore[arg-type]  # PEFT types it as any module
    path = "model.layers.0.mlp.experts"
    x = torch.randn(9, 32, dtype=dtype)
    given = (x, torch.rand(9, 4).topk(2).indices, torch.rand(9, 2).to(dtype))
    uses = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 0])

    with torch.inference_mode():
        rows.select(uses, {0, 1})
        found, own = adapted.get_submodule(path)(*given), plain.get_submodule(path)(*given)

    assert isinstance(adapted.get_submodule(path), RowAdaptedExperts)
    assert torch.equal(found[uses == 0], own[uses == 0])
    assert not torch.isclose(found[uses == 1], own[uses == 1]).all(1).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_without_an_adapter_keep_their_bits_beside_others_in_uneven_experts(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    """Their own code adds up experts in another order, and runs where no token is adapted."""
    model, copy = (of_size("gpt_oss", seed=0, intermediate_size=17) for _ in range(2))
    policy = adapter(copy, tmp_path / "policy")
    with peft_on_newer_transformers():
        model.set_experts_implementation("eager")
        adapted = PeftModel.from_pretrained(model.to(dtype), policy).get_base_model()  # type: ignore[arg-type]  # as above
    rows = adapt_rows(adapted, ["default"])  # type: ignore[arg-type]  # as above
    experts = adapted.get_submodule("model.layers.0.mlp.experts")
    x = torch.randn(9, model.config.hidden_size, dtype=dtype)
    given = (x, torch.rand(9, 4).topk(3).indices, torch.rand(9, 3).to(dtype))
    uses = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 0])

    with torch.inference_mode():
        rows.select(uses, {0, 1})
        beside = experts(*given)
        rows.select(torch.zeros_like(uses), {0})
        alone = experts(*given)

    assert torch.equal(beside[uses == 0], alone[uses == 0])


def test_experts_of_a_width_that_grouped_products_refuse(tmp_path: Path) -> None:
    model, copy = (of_size("deepseek_v3", seed=0, moe_intermediate_size=17) for _ in range(2))
    base, policy = save(model, tmp_path / "base"), adapter(copy, tmp_path / "policy")
    models = {"base": read(base), "policy": merge(read(base), policy)}
    for each in models.values():
        each.set_experts_implementation("eager")
    oracle = Oracle({name: uncached(each) for name, each in models.items()})
    requests = [Request(i, pad(prompt(i, 3 + 4 * i)), strength=0.7, max_tokens=6) for i in range(3)]
    requests += [Request(i, plain(prompt(i, 2 * i)), max_tokens=9) for i in range(3, 6)]

    completions = decode(load_engine(base, policy, device="cpu", num_slots=3), requests)

    assert token_ids(completions) == {each.request_id: oracle.answer(each).token_ids for each in requests}


@pytest.mark.parametrize(("dtype", "most"), [("float32", 2e-4), ("bfloat16", 0.6)])
def test_scores_are_those_of_pefts_own_model(dtype: str, most: float, tmp_path: Path) -> None:
    of_one = family("qwen3_moe", tmp_path)
    with peft_on_newer_transformers():
        adapted = PeftModel.from_pretrained(read(of_one.base), of_one.policy)
    models: dict[str, Any] = {"base": read(of_one.base), "policy": adapted}
    models = {name: model.to(getattr(torch, dtype)) for name, model in models.items()}
    texts = [text(seed, 2 + seed, 5, ("base", "policy")[seed % 2]) for seed in range(8)]

    engine = load_engine(of_one.base, of_one.policy, device="cpu", dtype=dtype, max_length=128)

    for request, score in zip(texts, scores(engine, texts), strict=True):
        wanted = torch.tensor(expected(models[request.weights], request))
        errors = (torch.tensor(score.log_probabilities) - wanted).abs()
        assert errors.median() <= most


def one_by_one(model: PreTrainedModel, folder: Path, names: tuple[str, str, str], **config: Any) -> PreTrainedModel:  # noqa: ANN401 (PEFT's)
    """Save an adapter as transformers 4 had it trained, on each expert, on layers of the same names and on the router.

    The model, changed in place, is what it was trained to be.
    """
    weights: dict[str, Tensor] = {}
    scale = 8 / 4**0.5 if config.get("use_rslora") else 8 / 4
    torch.manual_seed(3)

    def update(path: str, matrix: Tensor) -> None:
        a, b = torch.randn(4, matrix.shape[1]) * 0.2, torch.randn(len(matrix), 4) * 0.2
        weights[f"base_model.model.{path}.lora_A.weight"], weights[f"base_model.model.{path}.lora_B.weight"] = a, b
        matrix += scale * b @ a

    with torch.no_grad():
        for path, module in model.named_modules():
            old = path.replace(".mlp.", ".block_sparse_moe.") if names[0] == "w1" else path
            if path.endswith("mlp.experts"):
                for number in range(len(module.get_parameter("down_proj"))):
                    halves = module.get_parameter("gate_up_proj")[number].chunk(2)
                    parts = (*halves, module.get_parameter("down_proj")[number])
                    for name, part in zip(names, parts, strict=True):
                        update(f"{old}.{number}.{name}", part)
            elif path.endswith(("q_proj", *names)) or (path.endswith("mlp.gate") and not isinstance(module, nn.Linear)):
                update(old, module.get_parameter("weight"))
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    stated = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "task_type": "CAUSAL_LM"}
    targets = ["q_proj", "gate", *names]
    (folder / "adapter_config.json").write_text(json.dumps(stated | {"target_modules": targets} | config))
    return model


_GATED = ("gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("kind", "names", "config"),
    [
        ("mixtral", ("w1", "w3", "w2"), {}),
        ("mixtral", ("w1", "w3", "w2"), {"use_rslora": True}),
        ("qwen3_moe", _GATED, {}),
        ("qwen2_moe", _GATED, {}),
        ("deepseek_v3", _GATED, {}),
        ("glm4_moe", _GATED, {}),
    ],
    ids=["mixtral", "by the root of the rank", "qwen3_moe", "shared experts", "dense layers", "both"],
)
def test_what_was_trained_on_experts_one_by_one_is_what_it_was(
    kind: str, names: tuple[str, str, str], config: dict[str, Any], tmp_path: Path
) -> None:
    """PEFT alone takes the names of shared experts for the experts', and joins halves at another scale."""
    base = save(tiny(kind), tmp_path / "base")
    trained = one_by_one(read(base), tmp_path / "policy", names, **config)
    requests = [Request(i, pad_with_reference(prompt(i, 3 + 4 * i)), strength=0.7, max_tokens=6) for i in range(4)]

    engine = load_engine(base, str(tmp_path / "policy"), save(tiny(kind, seed=2), tmp_path / "reference"), device="cpu")

    models = {"base": read(base), "policy": trained, "reference": read(str(tmp_path / "reference"))}
    oracle = Oracle({name: uncached(model) for name, model in models.items()})
    answers = {request.request_id: oracle.answer(request).token_ids for request in requests}
    assert token_ids(decode(engine, requests)) == answers


def test_layers_of_a_mixture_that_are_named_as_they_stand_are_not_renamed(tmp_path: Path) -> None:
    """PEFT finds an older name, `mlp.shared_expert.`, in that of Laguna's shared experts, and makes of it another."""
    layers = ["q_proj", "shared_experts.down_proj", "layers.0.mlp.down_proj"]
    of_one = family("laguna", tmp_path, target_modules=layers, target_parameters=None)
    trained = read(of_one.base)  # by hand, as PEFT cannot read what it has written
    weights = load_file(Path(of_one.policy) / "adapter_model.safetensors")
    with torch.no_grad():
        for key, down in weights.items():
            if ".lora_A" in key:
                path = key.removeprefix("base_model.model.").partition(".lora_A")[0]
                trained.get_submodule(path).get_parameter("weight").add_(2 * weights[key.replace("_A", "_B")] @ down)
    requests = [Request(i, pad(prompt(i, 3 + 4 * i)), strength=0.7, max_tokens=6) for i in range(4)]

    completions = decode(load_engine(of_one.base, of_one.policy, device="cpu", num_slots=3), requests)

    oracle = Oracle({"base": uncached(read(of_one.base)), "policy": uncached(trained)})
    assert token_ids(completions) == {each.request_id: oracle.answer(each).token_ids for each in requests}


def said(base: str, *adapters: str) -> str:
    with pytest.raises(ModelError) as refusal:
        load_engine(base, *adapters, device="cpu", max_length=128)
    return str(refusal.value)


def test_experts_that_are_not_run_as_peft_runs_them_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one = family("qwen3_moe", tmp_path)
    read_factors = StackUpdate.__init__

    def of_other_experts(self: StackUpdate, wrapper: ParamWrapper, names: list[str], *, is_transposed: bool) -> None:
        read_factors(self, wrapper, names, is_transposed=is_transposed)
        self.up = self.up.roll(1, dims=0)

    load_engine(of_one.base, of_one.policy, device="cpu")
    monkeypatch.setattr(StackUpdate, "__init__", of_other_experts)

    assert "cached logits differ" in said(of_one.base, of_one.policy)


def test_tensors_that_the_engine_does_not_know_are_refused_by_name(tmp_path: Path) -> None:
    of_one = family("jetmoe", tmp_path, target_modules=[], target_parameters=["mlp.input_linear.weight"])

    assert "it adapts model.layers.0.mlp.input_linear.weight, a tensor of no linear layer, router or stack" in said(
        of_one.base, of_one.policy
    )


def test_adapters_of_different_tensors_are_refused_together(tmp_path: Path) -> None:
    of_one = family("mixtral", tmp_path)
    second = adapter(tiny("mixtral"), tmp_path / "second", target_parameters=["experts.down_proj"])

    assert "it adapts other tensors (target_parameters) than the adapter beside it" in said(
        of_one.base, of_one.policy, second
    )


def test_ranks_of_single_experts_are_refused(tmp_path: Path) -> None:
    base = save(tiny("mixtral"), tmp_path / "base")
    one_by_one(read(base), tmp_path / "policy", ("w1", "w3", "w2"), alpha_pattern={"w1": 3})

    assert "with ranks or scales of their own" in said(base, str(tmp_path / "policy"))
