"""One architecture on trial: a tiny model with random adapters, decoded in many ways, and what the judge says of it.

Rows join and leave, move and are cancelled; prompts are read in pieces of several sizes; prefixes are shared below and
above the length from which they are read in place.
"""

import random
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bench.architectures.judge import Judge, Model
from bench.architectures.tiny import MAX_LENGTH, PAD, tiny, tiny_config
from worker.engine import Completion, Engine, EngineError, ModelError, Request, Score, ScoreRequest, Stream, load_engine
from worker.engine.errors import ModelWeightsError, NoLengthError

LONGEST_PREFIX = 270
_MOST_ADAPTERS = 2  # as policy and as reference
_SCORE_TOLERANCE = 2e-2


class Found(StrEnum):
    """What became of an architecture."""

    EXACT = "exact"
    REFUSED = "refused"
    WRONG = "wrong"
    ERROR = "error"
    UNBUILT = "not built"


@dataclass(slots=True)
class Report:
    """Of one architecture."""

    architecture: str
    found: Found
    said: str = ""
    """A refusal, or what is wrong."""
    adapters: dict[str, str] = field(default_factory=dict)
    """What was said of an adapter on these layers; empty where it was stacked."""
    num_tokens: int = 0
    num_ties: int = 0
    in_place: bool | None = None
    """False where shared prefixes are copied into each row, because layers could not read them where they lie."""
    seconds: float = 0.0


def tried(architecture: str, seed: int) -> Report:
    """Build it, and decode it; never raises."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = _tried(architecture, seed, Path(folder))
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _tried(architecture: str, seed: int, folder: Path) -> Report:
    base = folder / "base"
    try:
        tiny(architecture, seed).save_pretrained(base)
    except Exception as error:  # noqa: BLE001 (whatever a foreign configuration raises)
        return _by_configuration_alone(architecture, base, error)
    report = Report(architecture, Found.EXACT)
    rng = random.Random(f"{architecture} {seed}")
    adapters: dict[str, str] = {}
    with suppress(ValueError):  # what transformers itself cannot read again is refused below
        adapters = _saved_adapters(base, folder, rng)
    try:
        engine, stacked = _loaded(report, base, adapters)
    except ModelWeightsError as error:  # which it has just been given
        return Report(architecture, Found.ERROR, str(error))
    except ModelError as error:
        return Report(architecture, Found.REFUSED, str(error).replace(str(base), "MODEL"))
    except Exception as error:  # noqa: BLE001 (what is to be found)
        return Report(architecture, Found.ERROR, f"{type(error).__name__}: {error}")
    try:
        _decode(report, engine, Judge(_models(base, stacked)), rng)
    except Exception as error:  # noqa: BLE001 (as above)
        report.found, report.said = Found.ERROR, f"{type(error).__name__}: {error}"
    return report


def _loaded(report: Report, base: Path, adapters: Mapping[str, str]) -> tuple[Engine, list[str]]:
    """An engine with as many of the adapters as it takes; what is said of the others is noted."""
    paths = [*adapters.values()][:_MOST_ADAPTERS]
    engine = None
    if all(Path(path).exists() for path in paths):
        with suppress(Exception):  # which is asked for below, adapter by adapter
            engine = _load(base, *paths)
    if engine is None:
        _load(base)
    for name, path in adapters.items():
        report.adapters[name] = _why_not_stacked(base, path) if engine is None or path not in paths else ""
    if engine is not None:
        return engine, paths
    paths = [path for name, path in adapters.items() if not report.adapters[name]][:_MOST_ADAPTERS]
    return _load(base, *paths), paths


def _saved_adapters(base: Path, folder: Path, rng: random.Random) -> dict[str, str]:
    return {
        name: _save_adapter(base, folder / name, layers, rng) for name, layers in _targets(_read(base), rng).items()
    }


def _by_configuration_alone(architecture: str, base: Path, error: Exception) -> Report:
    """What is said of a model whose weights cannot be made."""
    unbuilt = Report(architecture, Found.UNBUILT, f"{type(error).__name__}: {' '.join(str(error).split())}")
    try:
        tiny_config(architecture).save_pretrained(base)
    except Exception:  # noqa: BLE001 (as above)
        return unbuilt
    try:
        _load(base)
    except ModelWeightsError:
        return unbuilt
    except ModelError as refusal:
        return Report(architecture, Found.REFUSED, str(refusal).replace(str(base), "MODEL"))
    except Exception as raw:  # noqa: BLE001 (what is to be found)
        return Report(architecture, Found.ERROR, f"{type(raw).__name__}: {raw}")
    return unbuilt


def _targets(model: PreTrainedModel, rng: random.Random) -> dict[str, list[str]]:
    """Names of layers to adapt: the usual ones, attention's and the stacks of experts, any, and attention's alone."""
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    if model.config.model_type in {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}:  # PEFT forbids it
        linear = [path for path in linear if not path.endswith("out_proj")]
    usual = [path for path in linear if path.rpartition(".")[2] in _USUAL] or linear[:-1]
    stacks = [path for path, parameter in model.named_parameters() if parameter.dim() == 3 and ".experts." in path]  # noqa: PLR2004 (matrices)
    stacks = [path for path in stacks if path.endswith(("gate_up_proj", "up_proj", "down_proj"))]
    if any(parameter.dim() == 3 for parameter in model.parameters()):  # noqa: PLR2004 (as above)
        # PEFT takes layers of these names for the experts, wherever they are.
        linear = [path for path in linear if not path.endswith(("gate_proj", "up_proj", "down_proj", ".w1", ".w2"))]
    attention = [path for path in usual if "att" in path and path in linear]
    some = sorted(rng.sample(linear, rng.randint(1, len(linear)))) if linear else []
    experts = [*attention, *stacks] if stacks else []
    named = {"usual layers": usual, "experts": experts, "any layers": some, "attention's layers": attention}
    return {name: layers for name, layers in named.items() if layers}


_USUAL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc"} | {
    "query_key_value",
    "dense_h_to_4h",
    "dense_4h_to_h",
    "in_proj",
    "out_proj",
    "qkv_proj",
    "gate_up_proj",
    "fc1",
    "fc2",
}


def _save_adapter(base: Path, path: Path, layers: Sequence[str], rng: random.Random) -> str:
    """An adapter whose update is not zero, as after training; where PEFT cannot make one, a folder without."""
    torch.manual_seed(rng.getrandbits(32))
    rank = rng.choice([1, 3, 8])
    try:
        with _quiet():
            model = _read(base)
            tensors = [path for path, _ in model.named_parameters() if path in layers]
            modules = [path for path in layers if path not in tensors]
            config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=modules, target_parameters=tensors or None)
            adapted = get_peft_model(model, config)
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    nn.init.normal_(parameter, std=0.3)
            adapted.save_pretrained(str(path), save_embedding_layers=False)
    except Exception as error:  # noqa: BLE001 (PEFT's own)
        path.with_suffix(".why").write_text(f"PEFT: {error}")
    return str(path)


def _why_not_stacked(base: Path, adapter: str) -> str:
    if not Path(adapter).exists():
        return Path(adapter).with_suffix(".why").read_text()
    try:
        _load(base, adapter)
    except ModelError as error:
        return str(error).replace(str(base), "MODEL").replace(adapter, "ADAPTER")
    except Exception as error:  # noqa: BLE001 (what is to be found)
        return f"RAW {type(error).__name__}: {error}"
    return ""


def _decode(report: Report, loaded: Engine, judge: Judge, rng: random.Random) -> None:
    """Several engines on one model, each with its own sizes of pieces and number of slots."""
    models = loaded._models  # noqa: SLF001 (a second engine on them costs no second proof)
    report.in_place = models.runners[0].reads_in_place
    for budget, num_slots in ((rng.choice([3, 5, 7]), 3), (rng.choice([16, 33, 64]), 4)):
        engine = Engine(models, num_slots=num_slots, prefill_budget=budget)
        names = engine.weights
        for requests in (_batch(names, rng), _sharing(names, rng, 20), _sharing(names, rng, LONGEST_PREFIX)):
            outcomes = _run(engine, requests, rng)
            _judge(report, judge, requests, outcomes)
            if report.found is not Found.EXACT:
                report.said += f" ({num_slots} slots, pieces of {budget})"
                return
        _score(report, judge, engine, names, rng)


def _load(base: Path, *adapters: str) -> Engine:
    """Of the length that the model states; of a usual one where it states none."""
    try:
        return load_engine(str(base), *adapters, device="cpu", dtype="float32")
    except NoLengthError:
        return load_engine(str(base), *adapters, device="cpu", dtype="float32", max_length=MAX_LENGTH)


_OVERFLOWS_IN_FLOAT64 = {"xglm"}
"""Whose code puts the least number of float64 where only float32 fits."""


def _judged(base: Path) -> PreTrainedModel:
    model = _read(base)
    return model if model.config.model_type in _OVERFLOWS_IN_FLOAT64 else _read(base, torch.float64)


def _models(base: Path, adapters: Sequence[str]) -> dict[str, Model]:
    models: dict[str, Model] = {"base": _judged(base)}
    for name, adapter in zip(("policy", "reference"), adapters, strict=False):
        with _quiet():
            adapted = PeftModel.from_pretrained(_judged(base), adapter)
            _fill(adapted, Path(adapter, "adapter_model.safetensors"))
            models[name] = adapted.double() if models["base"].dtype == torch.float64 else adapted
            models[name].train(mode=False)
    return models


@torch.no_grad()
def _fill(adapted: PeftModel, file: Path) -> None:
    """Once more what a file names as PEFT names it: PEFT takes some of today's names for older ones, Laguna's say."""
    parameters = dict(adapted.named_parameters())
    for key, matrix in load_file(file).items():
        parameter = parameters.get(re.sub(r"(?<=\.lora_[AB])(?=\.weight$)", ".default", key))
        if parameter is not None:
            parameter.copy_(matrix)


def _batch(names: Sequence[str], rng: random.Random) -> list[Request]:
    """Prompts and answers of unequal lengths, guided in all ways and not at all."""
    return [
        _request(f"r{number}", _text(rng, rng.choice([1, 2, 9, 14, 23, 40, 75])), names, rng) for number in range(9)
    ]


def _sharing(names: Sequence[str], rng: random.Random, num_shared: int) -> list[Request]:
    shared = _text(rng, num_shared)
    texts = [shared + _text(rng, rng.choice([1, 2, 5, 11])) for _ in range(4)]
    return [_request(f"s{number}", text, names, rng, max_tokens=4) for number, text in enumerate(texts)]


def _text(rng: random.Random, num_tokens: int) -> tuple[int, ...]:
    return tuple(rng.choices(range(PAD), k=num_tokens))


def _request(
    name: str, text: tuple[int, ...], names: Sequence[str], rng: random.Random, max_tokens: int | None = None
) -> Request:
    guides = [rng.choice(names[1:] or names), rng.choice(names)]
    streams = rng.choice(
        [
            (Stream("base", text),),
            (Stream("base", text, reward=-1.0), Stream(guides[0], text, reward=1.0)),
            (Stream("base", text), Stream(guides[0], text, reward=1.0), Stream(guides[1], text, reward=-1.0)),
            (Stream("base", (5, *text), reward=1.0), Stream("base", text, reward=-1.0)),
        ]
    )
    return Request(
        name,
        streams,
        strength=0.0 if len(streams) == 1 else rng.choice([0.5, 1.0, 1.7, -0.6]),
        k=rng.choice([10, 4, 95]),
        max_tokens=max_tokens or rng.randint(2, 12),
    )


def _run(engine: Engine, requests: Sequence[Request], rng: random.Random) -> dict[str, Completion]:
    """Some come while others are decoded, and one that nobody waits for is taken away in the middle."""
    late, gone = list(requests), Request("gone", (Stream("base", _text(rng, 30)),), max_tokens=40)
    outcomes: dict[str, Completion] = {}
    engine.add(gone)
    steps = 0
    while late or engine.num_active or engine.num_waiting:
        for _ in range(rng.choice([0, 1, 3])):
            if late:
                engine.add(late.pop(0))
        if steps == rng.choice([4, 5]):
            engine.cancel("gone")
        for outcome in engine.step():
            if not isinstance(outcome, Completion):
                raise EngineError(outcome.message)
            outcomes[str(outcome.request_id)] = outcome
        steps += 1
    outcomes.pop("gone", None)
    return outcomes


def _judge(report: Report, judge: Judge, requests: Sequence[Request], outcomes: dict[str, Completion]) -> None:
    for request in requests:
        completion = outcomes[str(request.request_id)]
        verdict = judge.verdict(request, completion)
        report.num_tokens += len(completion.token_ids)
        report.num_ties += verdict.num_ties
        if verdict.first_wrong is not None:
            streams = ", ".join(f"{stream.weights} {len(stream.prompt)}" for stream in request.streams)
            report.found = Found.WRONG
            report.said = f"token {verdict.first_wrong} of {request.request_id} with streams {streams}"
            return


def _score(report: Report, judge: Judge, engine: Engine, names: Sequence[str], rng: random.Random) -> None:
    """Texts that are given are read beside one another."""
    requests = [
        ScoreRequest(request_id=name, weights=name, prompt_ids=_text(rng, 7), completion_ids=_text(rng, 5))
        for name in names
    ]
    for request, score in zip(requests, engine.score(requests), strict=True):
        error = judge.error(request, score) if isinstance(score, Score) else torch.inf
        if not error <= _SCORE_TOLERANCE:
            report.found, report.said = Found.WRONG, f"the score of {request.request_id} is off by {error:.3g}"


def _read(path: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, attn_implementation="eager", local_files_only=True
    )
    model.train(mode=False)
    if dtype == torch.float64 and hasattr(model.config, "_experts_implementation"):
        model.set_experts_implementation("eager")  # grouped products know no float64
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
