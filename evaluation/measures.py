"""What a method's texts are worth: rules, judge, topic, repetition, length, and the scores of other models."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.bootstrap import Estimate, Sample, difference, mean
from evaluation.judge import Judge
from evaluation.rules import Check, num_words
from evaluation.scoring import Scores
from evaluation.suite import Suite
from evaluation.tasks import Task
from evaluation.writing import Text, Writing

REPEATED_WORDS = 3
DISTINCT_WORDS = 2


@dataclass(frozen=True)
class Judged:
    """A text and what was found in it."""

    text: Text
    kept: frozenset[str]
    """By the rules."""
    judged: frozenset[str] | None
    """By the judge, if there is one."""

    @property
    def task(self) -> Task:
        """What was asked for."""
        return self.text.task

    @property
    def satisfied(self) -> bool:
        """Whether every principle that was asked for is kept, by its rule."""
        return all(principle.name in self.kept for principle in self.task.principles)

    @property
    def satisfied_for_judge(self) -> bool:
        """The same in the judge's eyes."""
        return all(principle.name in (self.judged or ()) for principle in self.task.principles)

    @property
    def has_judgement(self) -> bool:
        """Whether there is a judge, and it knows what was asked for: a text does not tell which value was."""
        return self.judged is not None and not any(principle.values for principle in self.task.principles)

    @property
    def on_topic(self) -> bool:
        """Whether the topic was carried over."""
        return self.task.prompt.is_carried_by(self.text.text)

    @property
    def is_about_seen(self) -> bool:
        """Whether the policy was trained on every principle that was asked for."""
        return all(principle.seen for principle in self.task.principles)

    @property
    def is_combination(self) -> bool:
        """Whether several principles were asked for at once."""
        return len(self.task.principles) > 1


Select = Callable[[Judged], bool]


@dataclass(frozen=True)
class Measured:
    """All texts of one method."""

    name: str
    texts: tuple[Judged, ...]
    num_tokens: int
    seconds: float
    scores: Mapping[int, Scores] = field(default_factory=dict)
    """Of some of the texts, by their place."""

    def sample(self, value: Callable[[Judged], float], select: Select = lambda _: True) -> Sample:
        """One value for each selected text."""
        rows = [text for text in self.texts if select(text)]
        return Sample([float(value(row)) for row in rows], [row.task.prompt.prompt for row in rows])

    def satisfied(self, select: Select = lambda _: True) -> Sample:
        """Whether each selected text does what was asked."""
        return self.sample(lambda row: row.satisfied, select)

    def scored(self, value: Callable[[Scores], float | None]) -> Sample | None:
        """One value for each scored text, longer ones counting more; None where there is none."""
        rows = [(self.texts[index], scores) for index, scores in self.scores.items() if value(scores) is not None]
        if not rows:
            return None
        return Sample(
            [float(value(scores) or 0.0) for _, scores in rows],
            [text.task.prompt.prompt for text, _ in rows],
            [float(scores.num_tokens) for _, scores in rows],
        )


@dataclass(frozen=True)
class Summary:
    """One method in numbers. Shares are of texts; None where nothing was measured."""

    method: str
    num_texts: int
    by_principle: Mapping[str, Estimate]
    seen: Estimate | None
    unseen: Estimate | None
    combinations: Estimate | None
    seen_for_judge: Estimate | None
    unseen_for_judge: Estimate | None
    topic: Estimate
    kl: Estimate | None
    kl_unguided: Estimate | None
    perplexity_base: Estimate | None
    perplexity_independent: Estimate | None
    perplexity_ratio: Estimate | None
    """Under the independent model, to the unguided base's texts."""
    repetition: Estimate
    distinct: float
    words: Estimate
    seconds_per_text: float
    tokens_per_second: float


class Rules:
    """The rules of a suite, compiled, and the judge beside them."""

    def __init__(self, suite: Suite, judge: Judge | None) -> None:
        self._checks: dict[str, dict[str | None, Check]] = {
            principle.name: {value: principle.check(value) for value in principle.values or (None,)}
            for principle in suite.principles
        }
        self._judge = judge

    def measure(self, writing: Writing, scores: Mapping[int, Scores] | None = None) -> Measured:
        """The writing with every text judged."""
        judged = self._judge.judge([text.text for text in writing.texts]) if self._judge else None
        rows = tuple(
            Judged(text, self.kept(text.text, text.task.values), judged[index] if judged is not None else None)
            for index, text in enumerate(writing.texts)
        )
        return Measured(writing.method.name, rows, writing.num_tokens, writing.seconds, scores or {})

    def kept(self, text: str, values: Mapping[str, str]) -> frozenset[str]:
        """The principles that the text keeps, those with values for the given ones."""
        return frozenset(name for name, checks in self._checks.items() if checks[values.get(name)](text))


def summarise(measured: Measured, unguided: Measured) -> Summary:
    """All numbers of one method; perplexity is compared with the unguided base's."""
    independent = measured.scored(lambda scores: scores.surprise_independent)
    of_unguided = unguided.scored(lambda scores: scores.surprise_independent)
    return Summary(
        method=measured.name,
        num_texts=len(measured.texts),
        by_principle={
            asked: mean(measured.satisfied(lambda row, asked=asked: row.task.asked == asked))  # type: ignore[misc]
            for asked in dict.fromkeys(row.task.asked for row in measured.texts)
        },
        seen=_share(measured, is_single_seen),
        unseen=_share(measured, is_single_unseen),
        combinations=_share(measured, lambda row: row.is_combination),
        seen_for_judge=_share(measured, is_single_seen, by_judge=True),
        unseen_for_judge=_share(measured, is_single_unseen, by_judge=True),
        topic=mean(measured.sample(lambda row: row.on_topic)),
        kl=_mean(measured.scored(lambda scores: scores.kl)),
        kl_unguided=_mean(measured.scored(lambda scores: scores.kl_unguided)),
        perplexity_base=_exp(measured.scored(lambda scores: scores.surprise_base)),
        perplexity_independent=_exp(independent),
        perplexity_ratio=difference(independent, of_unguided).exp() if independent and of_unguided else None,
        repetition=mean(measured.sample(lambda row: repetition(row.text.text))),
        distinct=_distinct(measured.texts),
        words=mean(measured.sample(lambda row: num_words(row.text.text))),
        seconds_per_text=measured.seconds / len(measured.texts),
        tokens_per_second=measured.num_tokens / max(measured.seconds, 1e-9),
    )


def is_single_seen(row: Judged) -> bool:
    """One principle was asked for, and the policy was trained on it."""
    return row.is_about_seen and not row.is_combination


def is_single_unseen(row: Judged) -> bool:
    """One principle was asked for, and the policy was not trained on it."""
    return not row.is_about_seen and not row.is_combination


def repetition(text: str) -> float:
    """The share of a text's runs of three words that it has had before."""
    runs = _runs(text, REPEATED_WORDS)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct(texts: Sequence[str]) -> float:
    """Different runs of two words among all of the texts."""
    runs = [run for text in texts for run in _runs(text, DISTINCT_WORDS)]
    return len(set(runs)) / len(runs) if runs else 0.0


def _runs(text: str, length: int) -> list[tuple[str, ...]]:
    words = re.findall(r"[\w'-]+", text.lower())
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def _distinct(rows: Iterable[Judged]) -> float:
    """The mean over what was asked and seed: groups are of equal size for every method."""
    groups: dict[object, list[str]] = defaultdict(list)
    for row in rows:
        groups[row.task.asked, row.task.seed].append(row.text.text)
    return sum(map(distinct, groups.values())) / len(groups)


def _share(measured: Measured, select: Select, *, by_judge: bool = False) -> Estimate | None:
    def is_counted(row: Judged) -> bool:
        return select(row) and (row.has_judgement or not by_judge)

    if not any(map(is_counted, measured.texts)):
        return None
    return mean(measured.sample(lambda row: row.satisfied_for_judge if by_judge else row.satisfied, is_counted))


def _mean(sample: Sample | None) -> Estimate | None:
    return None if sample is None else mean(sample)


def _exp(sample: Sample | None) -> Estimate | None:
    """The perplexity, from a sample of nats per token; None stays None."""
    return None if sample is None else mean(sample).exp()
