"""The controls that need more than streams: a random adapter at equal KL, best of n at equal time, strength 0."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluation.bootstrap import mean
from evaluation.measures import Measured
from evaluation.methods import GUIDED_UNPROMPTED, PROMPTED, RANDOM_ADAPTER, SAMPLED, UNGUIDED, Arm
from evaluation.plan import EvaluatedModels
from evaluation.scoring import Row
from evaluation.study import Study
from evaluation.tasks import Task
from evaluation.writing import Text, Writing, is_adapter

NUM_BISECTIONS = 9
CLOSE_ENOUGH = 0.03
MIN_SAMPLES = 2


@dataclass(frozen=True)
class EqualKl:
    """How the random adapter's strength was chosen: both KLs are of the same test prompts' texts, per token."""

    strength: float
    kl: float
    kl_guided: float


def random_adapter(models: EvaluatedModels, out: Path, *, seed: int = 0) -> None:
    """Writes an untrained adapter of the policy's own shape, whose update is not zero."""
    torch.manual_seed(seed)
    shape = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    if models.policy is not None and is_adapter(models.policy):
        given = PeftConfig.from_pretrained(models.policy)
        if isinstance(given, LoraConfig):
            shape = LoraConfig(
                r=given.r, lora_alpha=given.lora_alpha, target_modules=given.target_modules, task_type="CAUSAL_LM"
            )
    shape.init_lora_weights = False
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(models.base, dtype=torch.float32), shape)
    model.save_pretrained(str(out), save_embedding_layers=False)


def merged_policy(models: EvaluatedModels, out: Path) -> str:
    """The folder of the policy as a whole model: a foreign base cannot carry an adapter that is not its own.

    The base's tokenizer lies beside it, by which the engine knows that it means the same tokens as the foreign base.
    """
    if models.policy is None or not is_adapter(models.policy):
        return models.policy or models.base
    base = AutoModelForCausalLM.from_pretrained(models.base, dtype=torch.float32)
    PeftModel.from_pretrained(base, models.policy).merge_and_unload().save_pretrained(out)
    AutoTokenizer.from_pretrained(models.base).save_pretrained(out)
    return str(out)


def at_equal_kl(study: Study, random_study: Study, guided: Arm) -> EqualKl:
    """The strength at which the random adapter moves the base as far as the policy does on the scored test prompts.

    Equal KL is what the comparison is about, and no choice in favour of anything: it is made where it is reported.
    """
    tasks = study.scored_tasks()
    wanted = _kl(study, guided, tasks)
    low, high = math.log(1e-3), math.log(1e3)
    strength, found = 1.0, math.inf
    for _ in range(NUM_BISECTIONS):
        strength = math.exp((low + high) / 2)
        found = _kl(random_study, RANDOM_ADAPTER.at(strength=strength, k=guided.k), tasks)
        if abs(found - wanted) <= CLOSE_ENOUGH * wanted:
            break
        low, high = (math.log(strength), high) if found < wanted else (low, math.log(strength))
    return EqualKl(strength, found, wanted)


def _kl(study: Study, method: Arm, tasks: Sequence[Task]) -> float:
    measured = study.run(method, tasks)
    sample = measured.scored(lambda scores: scores.kl)
    return math.nan if sample is None else mean(sample).mean


def best_of_n(study: Study, tasks: Sequence[Task], num_samples: int) -> Writing:
    """For each task, the one of n samples of the prompted base that the policy prefers most over the reference."""
    start = time.monotonic()
    writings = [study.writer.write(tasks, SAMPLED, sample=sample) for sample in range(num_samples)]
    prompts = [study.writer.streams(SAMPLED, task)[0].prompt for task in tasks]
    ratios = []
    for writing in writings:
        rows = [Row(prompt, text.token_ids) for prompt, text in zip(prompts, writing.texts, strict=True)]
        ratios.append(study.scorer.log_ratios(rows))
    best: list[Text] = []
    for place in range(len(tasks)):
        sample = max(range(num_samples), key=lambda sample, place=place: ratios[sample][place])  # type: ignore[misc]
        best.append(replace(writings[sample].texts[place], reward=ratios[sample][place]))
    return Writing(
        replace(SAMPLED, name=f"best of {num_samples} samples"),
        tuple(best),
        sum(writing.num_tokens for writing in writings),
        time.monotonic() - start,
    )


def samples_of_equal_time(guided: Measured, prompted: Measured) -> int:
    """How many prompted texts take as long as a guided one; rounded up, in favour of the samples."""
    return max(MIN_SAMPLES, math.ceil(guided.seconds / max(prompted.seconds, 1e-9)))


@dataclass(frozen=True)
class StrengthZero:
    """How many texts of the guided path at strength 0 are, token for token, those of the base alone."""

    num_equal: int
    num_texts: int


def at_strength_zero(study: Study, guided: Arm, num_texts: int = 200) -> StrengthZero:
    """Both guided methods at strength 0 against the bases that they guide."""
    tasks = study.test_tasks()
    tasks = random.Random(0).sample(tasks, min(num_texts, len(tasks)))
    num_equal = 0
    for method, base in ((guided, PROMPTED), (GUIDED_UNPROMPTED, UNGUIDED)):
        ours = study.writer.write(tasks, method.at(strength=0.0)).texts
        theirs = study.writer.write(tasks, base).texts
        num_equal += sum(one.token_ids == other.token_ids for one, other in zip(ours, theirs, strict=True))
    return StrengthZero(num_equal, 2 * len(tasks))
