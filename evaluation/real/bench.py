"""From texts to judged texts: every judge is asked once for each pair of prompt and text."""

from collections.abc import Sequence

from evaluation.real.judged import Judged
from evaluation.real.judges import JUDGES, profanity, topic_similarity
from evaluation.real.writing import Studio, Text
from evaluation.texts import echoes, repetition


class Bench:
    """Judges texts, each pair of prompt and text once; `other` is the model that says how likely it holds them."""

    def __init__(self, other: Studio) -> None:
        self._other = other
        self._known: dict[tuple[str, str], tuple[dict[str, float], float, float, float]] = {}

    def judge(self, texts: Sequence[Text]) -> list[Judged]:
        """The texts with their numbers, in order."""
        fresh = {_place(text): text for text in texts if _place(text) not in self._known}
        if fresh:
            unknown = list(fresh.values())
            topics = topic_similarity([text.text for text in unknown], [text.asked.prompt.prompt for text in unknown])
            surprises = self._other.surprises(unknown)
            for text, topic, surprise in zip(unknown, topics, surprises, strict=True):
                numbers = {name: judge(text.text) for name, judge in JUDGES.items()}
                self._known[_place(text)] = (numbers, topic, profanity(text.text), surprise)
        return [self._judged(text) for text in texts]

    def _judged(self, text: Text) -> Judged:
        numbers, topic, offence, surprise = self._known[_place(text)]
        is_echo = echoes(text.text, text.arm.told(text.asked), [text.asked.prompt.prompt])
        return Judged(text, numbers, topic, repetition(text.text), is_echo, offence, surprise)


def _place(text: Text) -> tuple[str, str]:
    return text.asked.prompt.prompt, text.text
