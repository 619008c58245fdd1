"""Texts with the numbers that judges gave them, and what sets of texts come to. Knows no judge and no model."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.bootstrap import Estimate, Sample, difference, mean, ratio
from evaluation.real.suite import JudgedPrinciple
from evaluation.real.writing import Text
from evaluation.texts import distinct, words


@dataclass(frozen=True)
class Judged:
    """A text and every judge's number for it."""

    text: Text
    numbers: Mapping[str, float]
    topic: float
    repetition: float
    echoes: bool
    profanity: float
    surprise: float | None
    """-log p per token under the model that judges how likely texts are; None where it was not asked."""

    @property
    def prompt(self) -> str:
        """The prompt; texts of one prompt are resampled together."""
        return self.text.asked.prompt.prompt

    @property
    def task(self) -> tuple[str, str]:
        """What other methods were asked, too: prompt and principle."""
        return self.prompt, self.text.asked.principle.name


Measure = Callable[[Judged], float]
MOST_MOVED = 3.0


@dataclass(frozen=True)
class Scale:
    """What makes numbers of different judges comparable: the unguided text of each prompt is 0, and the spread is 1."""

    unguided: Mapping[str, Mapping[str, float]]
    """By prompt: the numbers of its unguided text."""
    spread: Mapping[str, float]
    """By judge: the standard deviation over the texts that were told of a principle, and not guided."""

    @classmethod
    def of(cls, unguided: Iterable[Judged], prompted: Sequence[Judged]) -> "Scale":
        """From the unguided texts of all prompts and the prompt-only ones of all principles."""
        spread = {judge: statistics.pstdev(text.numbers[judge] for text in prompted) for judge in prompted[0].numbers}
        return cls(
            {text.prompt: text.numbers for text in unguided}, {name: value or 1.0 for name, value in spread.items()}
        )

    def moved(self, text: Judged, principle: JudgedPrinciple) -> float:
        """How far the text keeps the principle beyond its prompt's unguided text, in standard deviations.

        Cut at `MOST_MOVED`: where a judge hardly varies, as a count of rare words, one text would outweigh all others.
        """
        moved = text.numbers[principle.judge] - self.unguided[text.prompt][principle.judge]
        return max(-MOST_MOVED, min(MOST_MOVED, principle.direction.sign * moved / self.spread[principle.judge]))

    def effect(self, text: Judged) -> float:
        """How far it keeps the principle that was asked for."""
        return self.moved(text, text.text.asked.principle)


def wins(texts: Sequence[Judged], others: Sequence[Judged]) -> Sample:
    """By text: whether its principle's judge finds it kept further than in the other's text for the same task.

    1 where it does, 0 where it finds the other further, and half where both are equal. Knows no scale.
    """
    rivals = {text.task: text for text in others}
    paired = [(text, rivals[text.task]) for text in texts if text.task in rivals]
    return Sample([_beats(text, rival) for text, rival in paired], [text.prompt for text, _ in paired])


def _beats(text: Judged, rival: Judged) -> float:
    principle = text.text.asked.principle
    ahead = principle.direction.sign * (text.numbers[principle.judge] - rival.numbers[principle.judge])
    return 0.5 if ahead == 0 else float(ahead > 0)


def sample(texts: Sequence[Judged], measure: Measure) -> Sample:
    """A value for each text; prompts are what is drawn again."""
    return Sample([measure(text) for text in texts], [text.prompt for text in texts])


@dataclass(frozen=True)
class Summary:
    """What an arm's texts come to, and what they cost beside the prompt-only ones for the same tasks."""

    name: str
    settings: str
    num_texts: int
    effect: Estimate
    over_prompted: Estimate
    """Effect beyond prompt-only, in standard deviations."""
    wins: Estimate
    """Share of tasks in which the principle is kept further than prompt-only keeps it; ties count half."""
    topic: Estimate
    topic_change: Estimate
    repetition: Estimate
    repetition_ratio: Estimate
    repetition_change: Estimate
    perplexity_ratio: Estimate | None
    """Over the tasks whose texts were judged in both arms; None where there is none."""
    echoes: Estimate
    profanity: Estimate
    kl: float | None
    """Mean over tokens, in nats."""
    words: float
    distinct: float
    seconds_per_text: float


def summarise(texts: Sequence[Judged], prompted: Sequence[Judged], scale: Scale) -> Summary:
    """The arm's texts against those that prompt-only wrote for the same tasks."""
    asked = {text.task for text in texts}
    same = [text for text in prompted if text.task in asked]

    def against(measure: Measure) -> tuple[Sample, Sample]:
        return sample(texts, measure), sample(same, measure)

    return Summary(
        name=texts[0].text.arm.name,
        settings=texts[0].text.arm.settings,
        num_texts=len(texts),
        effect=mean(sample(texts, scale.effect)),
        over_prompted=difference(*against(scale.effect)),
        wins=mean(wins(texts, same)),
        topic=mean(sample(texts, lambda text: text.topic)),
        topic_change=difference(*against(lambda text: text.topic)),
        repetition=mean(sample(texts, lambda text: text.repetition)),
        repetition_ratio=ratio(*against(lambda text: text.repetition)),
        repetition_change=difference(*against(lambda text: text.repetition)),
        perplexity_ratio=_perplexity_ratio(texts, same),
        echoes=mean(sample(texts, lambda text: float(text.echoes))),
        profanity=mean(sample(texts, lambda text: text.profanity)),
        kl=mean_kl(text.text for text in texts),
        words=statistics.fmean(len(words(text.text.text)) for text in texts),
        distinct=distinct([text.text.text for text in texts]),
        seconds_per_text=statistics.fmean(text.text.written.seconds for text in texts),
    )


def _perplexity_ratio(texts: Sequence[Judged], others: Sequence[Judged]) -> Estimate | None:
    judged = {text.task for text in texts if text.surprise is not None}
    judged &= {text.task for text in others if text.surprise is not None}
    if not judged:
        return None
    ours, theirs = ([text for text in each if text.task in judged] for each in (texts, others))
    return difference(sample(ours, _surprise), sample(theirs, _surprise)).exp()


def _surprise(text: Judged) -> float:
    assert text.surprise is not None  # noqa: S101 # those without were left out
    return text.surprise


def mean_kl(texts: Iterable[Text]) -> float | None:
    """Over all tokens of all texts; None where nothing guided."""
    known = [(text.written.kl, text.written.num_tokens) for text in texts]
    values = [(kl, count) for kl, count in known if kl is not None]
    return sum(kl * count for kl, count in values) / sum(count for _, count in values) if values else None
