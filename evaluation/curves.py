"""What strength and candidates do, on validation prompts; which strength is best; where more of it is too much."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.bootstrap import Estimate, Sample, difference, mean
from evaluation.measures import Judged, Measured, is_single_seen, is_single_unseen
from evaluation.methods import Arm
from evaluation.study import Study

# PAD's own grid, and beyond it, where too much should show.
STRENGTHS = (0.0, 0.1, 0.2, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0)
CANDIDATES = (1, 5, 10, 20, 50)


@dataclass(frozen=True)
class Point:
    """One setting of a curve, all principles that the policy was trained on pooled unless said otherwise."""

    setting: float
    satisfied: Estimate
    unseen: Estimate | None
    topic: Estimate
    success: Estimate
    """Satisfied and on topic at once: what settings are chosen by."""
    reward: Estimate | None
    """The guide's own reward of a text; None where nothing guided."""
    kl: Estimate | None
    words: Estimate


@dataclass(frozen=True)
class Curve:
    """The points of one sweep and what follows from them."""

    points: tuple[Point, ...]
    best: int
    """The place of the point with the most success; the smallest setting among equals."""
    falls: int | None
    """The first place behind the best satisfaction where it is lower, beyond chance, and the guide's reward higher."""
    success_falls: int | None
    """The same of success."""


def sweep_strengths(study: Study, method: Arm) -> Curve:
    """The method over a grid of strengths."""
    return _sweep(study, [method.at(strength=strength) for strength in STRENGTHS], STRENGTHS)


def sweep_candidates(study: Study, method: Arm) -> Curve:
    """The method over numbers of candidates."""
    fitting = [k for k in CANDIDATES if k <= study.writer.engine.vocab_size]
    return _sweep(study, [method.at(k=k) for k in fitting], fitting)


def _sweep(study: Study, methods: Sequence[Arm], settings: Sequence[float]) -> Curve:
    tasks = study.validation_tasks()
    measured = [study.run(method, tasks) for method in methods]
    points = tuple(_point(setting, of_setting) for setting, of_setting in zip(settings, measured, strict=True))
    return Curve(
        points,
        best=max(range(len(points)), key=lambda place: (points[place].success.mean, -points[place].setting)),
        falls=first_fall([m.satisfied(is_single_seen) for m in measured], [point.reward for point in points]),
        success_falls=first_fall([_success(m) for m in measured], [point.reward for point in points]),
    )


def first_fall(samples: Sequence[Sample], rewards: Sequence[Estimate | None]) -> int | None:
    """The first place behind the largest mean where the mean is lower, beyond chance, and the reward higher."""
    means = [mean(sample).mean for sample in samples]
    peak = means.index(max(means))
    peak_reward = rewards[peak]
    for place in range(peak + 1, len(samples)):
        reward = rewards[place]
        rises = reward is not None and (peak_reward is None or reward.mean > peak_reward.mean)
        if rises and difference(samples[place], samples[peak]).is_below_zero:
            return place
    return None


def _point(setting: float, measured: Measured) -> Point:
    unseen = any(map(is_single_unseen, measured.texts))
    rewarded = all(row.text.reward is not None for row in measured.texts)
    kl = measured.scored(lambda scores: scores.kl)
    return Point(
        setting=setting,
        satisfied=mean(measured.satisfied(is_single_seen)),
        unseen=mean(measured.satisfied(is_single_unseen)) if unseen else None,
        topic=mean(measured.sample(lambda row: row.on_topic)),
        success=mean(_success(measured)),
        reward=mean(measured.sample(_reward, is_single_seen)) if rewarded else None,
        kl=mean(kl) if kl else None,
        words=mean(measured.sample(lambda row: len(row.text.text.split()))),
    )


def _reward(row: Judged) -> float:
    return row.text.reward or 0.0


def _success(measured: Measured) -> Sample:
    return measured.sample(lambda row: row.satisfied and row.on_topic, is_single_seen)
