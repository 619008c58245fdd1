"""From texts to judged texts: every judge is asked once for each pair of prompt and text."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from evaluation.real.findings import Finding, Findings, key_of
from evaluation.real.judged import Judged
from evaluation.real.judges import JUDGES, profanity, topic_similarity
from evaluation.real.writing import Studio, Text
from evaluation.texts import echoes, repetition


class Bench:
    """Judges texts; `reader` is the model that says how likely it holds them."""

    def __init__(self, reader: Studio, findings: Findings) -> None:
        self._reader = reader
        self._findings = findings

    def judge(self, texts: Sequence[Text], read: Sequence[Text] = ()) -> list[Judged]:
        """The texts with their numbers, in order; those of `read`, too, with how likely the reader finds them."""
        self._findings.add(_found(_once(text for text in texts if self._findings.get(text) is None)))
        unread = _once(text for text in read if self._surprise(text) is None)
        if unread:
            surprises = self._reader.surprises(unread)
            self._findings.add(self._with_surprise(*pair) for pair in zip(unread, surprises, strict=True))
        asked = {key_of(text) for text in read}
        return [self._judged(text, is_read=key_of(text) in asked) for text in texts]

    def _with_surprise(self, text: Text, surprise: float) -> Finding:
        known = self._known(text)
        return replace(known, surprises=known.surprises | {self._reader.fingerprint: surprise})

    def _surprise(self, text: Text) -> float | None:
        return self._known(text).surprises.get(self._reader.fingerprint)

    def _known(self, text: Text) -> Finding:
        finding = self._findings.get(text)
        assert finding is not None  # noqa: S101 # what was unknown has just been judged
        return finding

    def _judged(self, text: Text, *, is_read: bool) -> Judged:
        known = self._known(text)
        is_echo = echoes(text.text, text.arm.told(text.asked), [text.asked.prompt.prompt])
        surprise = self._surprise(text) if is_read else None
        return Judged(text, known.numbers, known.topic, repetition(text.text), is_echo, known.profanity, surprise)


def _once(texts: Iterable[Text]) -> list[Text]:
    return list({key_of(text): text for text in texts}.values())


def _found(texts: Sequence[Text]) -> list[Finding]:
    if not texts:
        return []
    topics = topic_similarity([text.text for text in texts], [text.asked.prompt.prompt for text in texts])
    return [
        Finding(
            key=key_of(text),
            numbers={name: judge(text.text) for name, judge in JUDGES.items()},
            topic=topic,
            profanity=profanity(text.text),
            surprises={},
        )
        for text, topic in zip(texts, topics, strict=True)
    ]
