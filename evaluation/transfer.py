"""One PersRM on base models it was not trained with, and beside adapters that were tuned for one principle each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, AutoModelForCausalLM

from evaluation.bootstrap import Estimate, difference
from evaluation.measures import Measured, Summary, is_single_seen, summarise
from evaluation.methods import POLICY_ALONE, PROMPTED, UNGUIDED, Arm
from evaluation.plan import EvaluatedModels
from evaluation.study import Study

TRAINING_RECORD = "training.json"
"""Beside a tuned adapter, if it says what training took: {"seconds": ...}."""


@dataclass(frozen=True)
class OtherBase:
    """What guidance by the same PersRM does to another base."""

    name: str
    architecture: str
    num_parameters: int
    unguided: Summary
    prompted: Summary
    guided: Summary
    over_prompted: Estimate
    """Satisfaction of the principles that the policy was trained on, guided minus prompted."""


@dataclass(frozen=True)
class TunedAdapter:
    """An adapter of one principle's own beside the PersRM, on the same prompts."""

    principle: str
    tuned: Estimate
    guided: Estimate
    guided_over_tuned: Estimate
    tuned_topic: Estimate
    guided_topic: Estimate
    num_bytes: int
    training_seconds: float | None


@dataclass(frozen=True)
class TunedAdapters:
    """The adapters that were trained for one principle each, and the guided policy against all of them together."""

    adapters: tuple[TunedAdapter, ...]
    guided_over_tuned: Estimate
    policy_bytes: int


def measure_other_base(study: Study, name: str, models: EvaluatedModels, guided: Arm) -> OtherBase:
    """`models` are the other base, the policy as a whole model, and the policy's own base as the reference."""
    other = study.of(models)
    tasks = study.side_tasks()
    unguided, prompted, steered = (other.run(method, tasks) for method in (UNGUIDED, PROMPTED, guided))
    config = AutoConfig.from_pretrained(models.base)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return OtherBase(
        name,
        str(config.model_type),
        num_parameters,
        unguided=summarise(unguided, unguided),
        prompted=summarise(prompted, unguided),
        guided=summarise(steered, unguided),
        over_prompted=difference(steered.satisfied(is_single_seen), prompted.satisfied(is_single_seen)),
    )


def measure_tuned(study: Study, tuned: Mapping[str, str], guided: Arm) -> TunedAdapters:
    """Each tuned adapter by itself, and the PersRM guiding, on one seed's prompts for the adapter's principle."""
    rows = []
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for principle, path in tuned.items():
        tasks = study.side_tasks([(principle,)])
        alone = study.of(EvaluatedModels(study.models.base, path)).run(POLICY_ALONE, tasks, scored=False)
        steered = study.run(guided, tasks, scored=False)
        theirs.append(alone)
        ours.append(steered)
        rows.append(_tuned_adapter(principle, Path(path), alone, steered))
    pooled = difference(_pooled(ours).satisfied(), _pooled(theirs).satisfied())
    policy = study.models.policy
    return TunedAdapters(tuple(rows), pooled, _num_bytes(Path(policy)) if policy else 0)


def _tuned_adapter(principle: str, path: Path, alone: Measured, steered: Measured) -> TunedAdapter:
    record = path / TRAINING_RECORD
    seconds = float(json.loads(record.read_text())["seconds"]) if record.is_file() else None
    tuned, guided = (summarise(measured, measured) for measured in (alone, steered))
    return TunedAdapter(
        principle,
        tuned=tuned.by_principle[principle],
        guided=guided.by_principle[principle],
        guided_over_tuned=difference(steered.satisfied(), alone.satisfied()),
        tuned_topic=tuned.topic,
        guided_topic=guided.topic,
        num_bytes=_num_bytes(path),
        training_seconds=seconds,
    )


def _pooled(parts: list[Measured]) -> Measured:
    texts = tuple(text for part in parts for text in part.texts)
    return Measured(parts[0].name, texts, sum(p.num_tokens for p in parts), sum(p.seconds for p in parts))


def _num_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))
