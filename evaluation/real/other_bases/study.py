"""One base guided by a PersRM of another: what is written, in which order, and what it comes to."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.plan import EvaluatedModels
from evaluation.real import arms
from evaluation.real.arms import Arm
from evaluation.real.bench import Bench
from evaluation.real.findings import Findings
from evaluation.real.judged import Judged, Scale, summarise
from evaluation.real.other_bases.arms import compared
from evaluation.real.other_bases.studio import Models, OtherBaseStudio
from evaluation.real.results import ModelResults
from evaluation.real.suite import Asked, RealSuite
from evaluation.real.writing import Notebook, Studio
from evaluation.suite import Split
from worker.model.card import find_card

LOG = logging.getLogger("padserve.evaluation")
NUM_PRINCIPLES = 8
AT_ONCE = 16
"""Texts that are written together: what is lost at most by who is interrupted."""


class OutOfTimeError(RuntimeError):
    """The time is over; what has been written is kept."""


@dataclass(frozen=True)
class Plan:
    """What is written with one base."""

    name: str
    models: Models
    read_by: Path
    """The model under which the texts' perplexity is measured: not the one that guides."""
    num_prompts: int
    num_read_prompts: int
    """Prompts of each principle whose texts it reads."""
    max_tokens: int
    until: float
    """On the clock of `time.monotonic`."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """In the format that the PersRM was trained with, at its card's strength."""
        card = find_card(str(self.models.base), str(self.models.persrm))
        strength = 1.0 if card is None or card.strength is None else card.strength
        return compared(EvaluatedModels(str(self.models.base), str(self.models.persrm)).format.name, strength)


def tasks_of(suite: RealSuite, num_prompts: int) -> list[Asked]:
    """One prompt of every principle, then the next: whoever stops early has asked for all principles alike."""
    drawn = suite.draw(Split.TEST, num_prompts, NUM_PRINCIPLES)
    return [asked for place in range(num_prompts) for asked in drawn[place::num_prompts]]


def write(plan: Plan, suite: RealSuite, notebook: Notebook) -> None:
    """Write what is missing, some tasks under every arm, then the next; raises OutOfTimeError."""
    studio = OtherBaseStudio(plan.models, notebook, plan.max_tokens)
    for tasks in _parts(tasks_of(suite, plan.num_prompts)):
        for arm in plan.arms:
            start = time.monotonic()
            studio.write(arm, tasks)
            LOG.info("%s: %s: %d texts, %.0f s", plan.name, arm.name, len(tasks), time.monotonic() - start)
            if time.monotonic() > plan.until:
                raise OutOfTimeError


def judge(plan: Plan, suite: RealSuite, notebook: Notebook, findings: Findings) -> ModelResults:
    """What the texts come to, once all are written."""
    studio = OtherBaseStudio(plan.models, notebook, plan.max_tokens)
    bench = Bench(Studio(plan.read_by, None, notebook, plan.max_tokens), findings)
    tasks = tasks_of(suite, plan.num_prompts)
    read = {
        (asked.prompt, asked.principle)
        for asked in tasks_of(suite, plan.num_prompts)[: plan.num_read_prompts * NUM_PRINCIPLES]
    }
    texts: dict[str, tuple[Judged, ...]] = {}
    for arm in plan.arms:
        written = studio.write(arm, tasks)
        shown = [text for text in written if (text.asked.prompt, text.asked.principle) in read]
        texts[arm.name] = tuple(bench.judge(written, shown))
        LOG.info("%s: %s: judged", plan.name, arm.name)
    prompted = next(name for name in texts if name.startswith("prompt only"))
    scale = Scale.of(texts[arms.UNGUIDED.name], texts[prompted])
    return ModelResults(
        name=plan.name,
        validation=(),
        prompted=prompted,
        best="pad",
        scale=scale,
        texts=texts,
        summaries=tuple(summarise(of_arm, texts[prompted], scale) for of_arm in texts.values()),
    )


def _parts(tasks: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
    for start in range(0, len(tasks), AT_ONCE):
        yield tasks[start : start + AT_ONCE]
