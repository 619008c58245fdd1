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
    surprise: float
    """-log p per token under the other model."""

    @property
    def prompt(self) -> str:
        """What its neighbours in resampling share."""
        return self.text.asked.prompt.prompt


Measure = Callable[[Judged], float]


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
        """How far the text keeps the principle beyond its prompt's unguided text, in standard deviations."""
        moved = text.numbers[principle.judge] - self.unguided[text.prompt][principle.judge]
        return principle.direction.sign * moved / self.spread[principle.judge]

    def effect(self, text: Judged) -> float:
        """How far it keeps the principle that was asked for."""
        return self.moved(text, text.text.asked.principle)


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
    topic: Estimate
    topic_change: Estimate
    repetition: Estimate
    repetition_ratio: Estimate
    perplexity_ratio: Estimate
    echoes: Estimate
    profanity: Estimate
    kl: float | None
    """Mean over tokens, in nats."""
    words: float
    distinct: float
    seconds_per_text: float


def summarise(texts: Sequence[Judged], prompted: Sequence[Judged], scale: Scale) -> Summary:
    """The arm's texts against those that prompt-only wrote for the same tasks."""
    asked = {(text.prompt, text.text.asked.principle.name) for text in texts}
    same = [text for text in prompted if (text.prompt, text.text.asked.principle.name) in asked]

    def against(measure: Measure) -> tuple[Sample, Sample]:
        return sample(texts, measure), sample(same, measure)

    return Summary(
        name=texts[0].text.arm.name,
        settings=texts[0].text.arm.settings,
        num_texts=len(texts),
        effect=mean(sample(texts, scale.effect)),
        over_prompted=difference(*against(scale.effect)),
        topic=mean(sample(texts, lambda text: text.topic)),
        topic_change=difference(*against(lambda text: text.topic)),
        repetition=mean(sample(texts, lambda text: text.repetition)),
        repetition_ratio=ratio(*against(lambda text: text.repetition)),
        perplexity_ratio=difference(*against(lambda text: text.surprise)).exp(),
        echoes=mean(sample(texts, lambda text: float(text.echoes))),
        profanity=mean(sample(texts, lambda text: text.profanity)),
        kl=mean_kl(texts),
        words=statistics.fmean(len(words(text.text.text)) for text in texts),
        distinct=distinct([text.text.text for text in texts]),
        seconds_per_text=statistics.fmean(text.text.written.seconds for text in texts),
    )


def mean_kl(texts: Sequence[Judged]) -> float | None:
    """Over all tokens of all texts; None where nothing guided."""
    known = [(text.text.written.kl, text.text.written.num_tokens) for text in texts]
    values = [(kl, count) for kl, count in known if kl is not None]
    return sum(kl * count for kl, count in values) / sum(count for _, count in values) if values else None
