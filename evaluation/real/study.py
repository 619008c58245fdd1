"""One real model under study: settings chosen on validation prompts, arms and controls measured on test prompts."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from domain.preferences import Method
from evaluation.conditions import Policy, Says
from evaluation.controls import random_adapter
from evaluation.plan import EvaluatedModels
from evaluation.real import arms
from evaluation.real.arms import Arm
from evaluation.real.bench import Bench
from evaluation.real.choice import Point, best, strength_at
from evaluation.real.findings import Findings
from evaluation.real.judged import Judged, Scale, Summary, mean_kl, summarise
from evaluation.real.results import ModelResults
from evaluation.real.suite import Asked, RealSuite
from evaluation.real.writing import Notebook, Studio, Text
from evaluation.suite import Split
from worker.texts.decoder import completed

LOG = logging.getLogger("padserve.evaluation")
PROBED_STRENGTHS = (0.5, 2.0, 8.0)
"""Where the random adapter's KL is measured before its strength is matched."""
NUM_PROBES = 210
"""Texts on which `contrast` is brought to the KL of `pad`: all of them, as a few that are far away decide the mean."""
MAX_PROBINGS = 4
CLOSE_KL = 0.05
"""Share of the KL by which it may be missed there."""
MAX_SAMPLES = 4


@dataclass(frozen=True)
class Size:
    """How much is written with one model."""

    num_prompts: int
    """Test prompts of each principle, for prompt-only in its best format and for what is compared with it."""
    num_control_prompts: int
    """The first of these, for other formats, controls and alternatives."""
    num_validation_prompts: int
    num_read_prompts: int
    """The first of the test prompts, whose texts the other model reads: how likely it finds them."""
    num_principles: int | None = None
    with_controls: bool = True


@dataclass(frozen=True)
class ModelPlan:
    """A model to be studied."""

    name: str
    path: Path
    judged_by: Path
    """The model under which its texts' perplexity is measured."""
    size: Size
    persrm: Path | None = None


@dataclass
class RealStudy:
    """The model, the other one that judges its texts, and everything that they have said so far."""

    plan: ModelPlan
    suite: RealSuite
    notebook: Notebook
    findings: Findings
    max_tokens: int
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Load both models."""
        self.studio = Studio(self.plan.path, self.plan.persrm, self.notebook, self.max_tokens)
        self.bench = Bench(Studio(self.plan.judged_by, None, self.notebook, self.max_tokens), self.findings)
        self.own_bench = Bench(self.studio, self.findings)

    def run(self) -> ModelResults:
        """Choose, then measure."""
        prompted_arm, validation = self._choose()
        chosen = _Chosen.of(prompted_arm, validation)
        main = [arms.UNGUIDED, chosen.prompted, self._uncalibrated(), *chosen.by_family.values()]
        others = [arm for arm in map(arms.prompted, arms.FORMATS) if arm != chosen.prompted]
        size = self.plan.size
        tasks = self.suite.draw(Split.TEST, size.num_prompts, size.num_principles)
        few = self.suite.draw(Split.TEST, min(size.num_control_prompts, size.num_prompts), size.num_principles)
        texts = {arm.name: self._judge(self.studio, arm, tasks) for arm in main}
        if "pad" in texts:
            matched = self._contrast_at(_kl(texts["pad"]), chosen, tasks)
            texts[matched.name] = self._judge(self.studio, matched, tasks)
        texts |= {arm.name: self._judge(self.studio, arm, few) for arm in others}
        num_samples = None
        if size.with_controls:
            texts |= {arm.name: self._judge(self.studio, arm, few) for arm in self._controls(chosen)}
            texts |= self._random_adapter(chosen, texts[chosen.best.name], few)
            num_samples = self._num_samples(texts[chosen.best.name], texts[chosen.prompted.name])
            texts["best of n"] = self._best_of(num_samples, chosen.prompted.format, few)
        prompted = texts[chosen.prompted.name]
        scale = Scale.of(texts[arms.UNGUIDED.name], prompted)
        return ModelResults(
            name=self.plan.name,
            validation=tuple(summary for _, summary in validation),
            prompted=chosen.prompted.name,
            best=chosen.best.name,
            scale=scale,
            texts={name: tuple(of_arm) for name, of_arm in texts.items()},
            summaries=tuple(summarise(of_arm, prompted, scale) for of_arm in texts.values()),
            num_samples=num_samples,
            notes=tuple(self.notes),
        )

    def _judge(self, studio: Studio, arm: Arm, tasks: Sequence[Asked]) -> list[Judged]:
        texts = studio.write(arm, tasks)
        judged = self.bench.judge(texts, self._read(texts))
        LOG.info("%s: %s: %d texts", self.plan.name, arm.name, len(texts))
        return judged

    def _read(self, texts: Sequence[Text]) -> list[Text]:
        """The texts among these that the other model reads: some of the test prompts' only."""
        size = self.plan.size
        read = self.suite.draw(Split.TEST, min(size.num_read_prompts, size.num_prompts), size.num_principles)
        tasks = {(asked.prompt.prompt, asked.principle.name) for asked in read}
        return [text for text in texts if (text.asked.prompt.prompt, text.asked.principle.name) in tasks]

    def _validate(self, arm: Arm, tasks: Sequence[Asked]) -> list[Judged]:
        """Read by the model itself, as in `padserve calibrate`."""
        texts = self.studio.write(arm, tasks)
        LOG.info("%s: validation: %s, %s: %d texts", self.plan.name, arm.name, arm.settings, len(texts))
        return self.own_bench.judge(texts, texts)

    def _choose(self) -> tuple[Arm, list[tuple[Arm, Summary]]]:
        """The best prompt-only arm, and every setting measured against it, on the validation prompts."""
        size = self.plan.size
        tasks = self.suite.draw(Split.VALIDATION, size.num_validation_prompts, size.num_principles)
        unguided = self._validate(arms.UNGUIDED, tasks)
        prompted = {arm: self._validate(arm, tasks) for arm in map(arms.prompted, arms.FORMATS)}
        scale = Scale.of(unguided, [text for texts in prompted.values() for text in texts])
        formats = list(prompted)
        reference = formats[best([summarise(texts, unguided, scale) for texts in prompted.values()])]
        judged = prompted | {arm: self._validate(arm, tasks) for arm in self._candidates()}
        return reference, [(arm, summarise(texts, prompted[reference], scale)) for arm, texts in judged.items()]

    def _candidates(self) -> Iterable[Arm]:
        settings: list[tuple[float, float | None]] = [(strength, None) for strength in arms.STRENGTHS]
        settings += [(arms.BUDGETED_STRENGTH, budget) for budget in arms.BUDGETS]
        for strength, budget in settings:
            for format in ("system", "instruction"):
                yield arms.contrast(format, strength, budget)
            if self.plan.persrm is not None:
                yield arms.pad(self._persrm_format(self.plan.persrm), strength, budget)

    def _persrm_format(self, persrm: Path) -> str:
        """What the policy's card says that it was trained with; PAD's released wording where it has none."""
        return EvaluatedModels(str(self.plan.path), str(persrm)).format.name

    def _uncalibrated(self) -> Arm:
        return arms.uncalibrated(completed(None, self.studio.tokenizer, has_policy=False))

    def _contrast_at(self, kl: float, chosen: "_Chosen", tasks: Sequence[Asked]) -> Arm:
        """`contrast` at the strength whose texts are as far from the base as this; no judge has a say."""
        contrast = replace(chosen.by_family["contrast"], name="contrast, KL of pad", max_kl=None)
        probes = tasks[:: max(1, len(tasks) // NUM_PROBES)]
        strength = strength_at(chosen.points(contrast.format), kl)
        points: list[Point] = []
        for _ in range(MAX_PROBINGS):
            found = _kl(self.studio.write(replace(contrast, strength=strength), probes))
            LOG.info("%s: contrast at strength %.3g: KL %.3f, wanted %.3f", self.plan.name, strength, found, kl)
            points.append(Point(strength, found))
            if abs(found - kl) <= CLOSE_KL * kl:
                break
            strength = strength_at(points, kl)
        return replace(contrast, strength=strength)

    def _controls(self, chosen: "_Chosen") -> list[Arm]:
        controls = list(arms.controls(chosen.best))
        pad = chosen.by_family.get("pad")
        if pad is not None:
            controls.append(replace(pad, name="pad, no text", says=Says.NOTHING))
        return controls

    def _random_adapter(
        self, chosen: "_Chosen", guided: Sequence[Judged], tasks: Sequence[Asked]
    ) -> dict[str, list[Judged]]:
        """An untrained adapter in the policy's place, as far from the base as the best arm."""
        kl = _kl(guided)
        arm = Arm("random adapter", Method.PAD, chosen.best.format, policy=Policy.RANDOM)
        persrm = self.plan.persrm
        with TemporaryDirectory() as folder:
            random_adapter(EvaluatedModels(str(self.plan.path), None if persrm is None else str(persrm)), Path(folder))
            studio = Studio(self.plan.path, Path(folder), self.notebook, self.max_tokens)
            probes = tasks[:: max(1, len(tasks) // 16)]
            points = [
                Point(strength, _kl(studio.write(replace(arm, strength=strength), probes)))
                for strength in PROBED_STRENGTHS
            ]
            matched = replace(arm, strength=strength_at(points, kl))
            return {arm.name: self._judge(studio, matched, tasks)}

    def _num_samples(self, guided: Sequence[Judged], prompted: Sequence[Judged]) -> int:
        """How many answers the prompted base writes in the time of one guided one, rounded up."""
        ours, theirs = (
            sum(text.text.written.seconds for text in texts) / sum(text.text.written.num_tokens for text in texts)
            for texts in (guided, prompted)
        )
        return min(max(2, math.ceil(ours / theirs)), MAX_SAMPLES)

    def _best_of(self, number: int, format: str, tasks: Sequence[Asked]) -> list[Judged]:
        """For each task, the sample whose principle is the likeliest under the model itself."""
        samples = [self.studio.write(arm, tasks) for arm in arms.samples(format, number)]
        odds = [self.studio.log_odds(texts) for texts in samples]
        chosen: list[Text] = []
        for place in range(len(tasks)):
            winner = max(range(number), key=lambda sample: odds[sample][place])
            chosen.append(samples[winner][place])
        return self.bench.judge(chosen)


def _kl(texts: Sequence[Judged] | Sequence[Text]) -> float:
    """Mean KL per token of the texts that were guided, in nats; 0 where none was."""
    return mean_kl(text.text if isinstance(text, Judged) else text for text in texts) or 0.0


@dataclass(frozen=True)
class _Chosen:
    """What the validation prompts decided."""

    prompted: Arm
    best: Arm
    by_family: Mapping[str, Arm]
    """By the name of a method: its chosen setting."""
    measured: tuple[tuple[Arm, Summary], ...]

    @classmethod
    def of(cls, prompted: Arm, measured: Sequence[tuple[Arm, Summary]]) -> "_Chosen":
        """The best setting of each method, and the best of these."""
        tried, summaries = [arm for arm, _ in measured], [summary for _, summary in measured]
        families: dict[str, list[int]] = {}
        for place, arm in enumerate(tried):
            if arm.method is not Method.PROMPT:
                families.setdefault(arm.name, []).append(place)
        winners = {name: places[best([summaries[place] for place in places])] for name, places in families.items()}
        order = list(winners.values())
        return cls(
            prompted=prompted,
            best=tried[order[best([summaries[place] for place in order])]],
            by_family={name: tried[place] for name, place in winners.items()},
            measured=tuple(measured),
        )

    def points(self, format: str) -> list[Point]:
        """What `contrast` costs in this format, without a budget."""
        return [
            Point(arm.strength, summary.kl or 0.0)
            for arm, summary in self.measured
            if arm.name == "contrast" and arm.format == format
        ]
