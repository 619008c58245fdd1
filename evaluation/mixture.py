"""`mixture` between two principles that pull apart: weights swept from one to the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from domain.preferences import EffectivePreference, Principle
from domain.preferences import Method as ServedMethod
from evaluation.bootstrap import Estimate, Sample, difference, mean
from evaluation.conditions import Says
from evaluation.methods import DEFAULT_STRENGTH, conversation
from evaluation.rules import num_words
from evaluation.study import Study
from evaluation.tasks import Task
from worker.engine import Completion, Request
from worker.texts.methods import streams_of

SHARES = tuple(step / 8 for step in range(9))
"""Shares of the second principle in a sweep; the first has the rest."""


class Shape(StrEnum):
    """How a share moves along a sweep."""

    MONOTONE = "monotone"
    WITHIN_NOISE = "monotone within the noise"
    """Some step goes the other way, none of them beyond chance."""
    NOT_MONOTONE = "not monotone"


@dataclass(frozen=True)
class Sweep:
    """From the first principle to the second, with the shares of texts that keep each."""

    principles: tuple[str, str]
    shares: tuple[float, ...]
    first: tuple[Estimate, ...]
    second: tuple[Estimate, ...]
    words: tuple[Estimate, ...]
    first_shape: Shape
    second_shape: Shape


def sweep_mixture(study: Study, principles: tuple[str, str]) -> Sweep:
    """Writes test prompts at every share, by the streams that the worker would use.

    At the default strength: the strength that was chosen is one for a base that reads the principles, and this one
    reads none.
    """
    tasks = study.side_tasks([principles])
    clusters = [task.prompt.prompt for task in tasks]
    kept: list[list[frozenset[str]]] = []
    words: list[Estimate] = []
    for share in SHARES:
        texts = _write(study, tasks, share)
        kept.append([study.rules.kept(text, task.values) for text, task in zip(texts, tasks, strict=True)])
        words.append(mean(Sample([float(num_words(text)) for text in texts], clusters)))
    first, second = (
        [Sample([float(name in names) for names in of_share], clusters) for of_share in kept] for name in principles
    )
    return Sweep(
        principles,
        SHARES,
        first=tuple(map(mean, first)),
        second=tuple(map(mean, second)),
        words=tuple(words),
        first_shape=shape(first[::-1]),
        second_shape=shape(second),
    )


def shape(samples: Sequence[Sample]) -> Shape:
    """Whether the means never fall from one sample to the next."""
    steps = [difference(later, earlier) for earlier, later in pairwise(samples)]
    if all(step.mean >= 0 for step in steps):
        return Shape.MONOTONE
    return Shape.NOT_MONOTONE if any(step.is_below_zero for step in steps) else Shape.WITHIN_NOISE


def _write(study: Study, tasks: Sequence[Task], share: float) -> list[str]:
    writer = study.writer
    requests = []
    for number, task in enumerate(tasks):
        weighted = tuple(map(Principle, task.wordings, (1 - share, share)))
        preference = EffectivePreference(ServedMethod.MIXTURE, DEFAULT_STRENGTH, weighted)
        streams = streams_of(preference, conversation(task, Says.NOTHING), writer.encode, writer.format)
        requests.append(Request(number, streams, strength=DEFAULT_STRENGTH, max_tokens=writer.max_tokens))
    return [_text(study, completion) for completion in writer.decode(requests)]


def _text(study: Study, completion: Completion) -> str:
    return str(study.writer.tokenizer.decode(list(completion.token_ids), skip_special_tokens=True))
