"""Texts with numbers, as judges would give them."""

from evaluation.real.arms import UNGUIDED, Arm
from evaluation.real.judged import Judged
from evaluation.real.suite import Asked, Direction, JudgedPrinciple, RealPrompt
from evaluation.real.writing import Text, Written
from evaluation.suite import Split


def principle(name: str = "cheerful", judge: str = "sentiment", direction: Direction = Direction.UP) -> JudgedPrinciple:
    """A principle whose keeping this judge's number shows."""
    return JudgedPrinciple(
        name=name, judge=judge, direction=direction, seen=True, wordings=("one", "two"), examples=("one", "two")
    )


def judged(
    prompt: str,
    number: float,
    *,
    asked: JudgedPrinciple | None = None,
    surprise: float | None = None,
    words: str = "A text.",
    arm: Arm = UNGUIDED,
    kl: float = 0.1,
) -> Judged:
    """A text for this prompt, whose every judge gave this number."""
    chosen = asked or principle()
    task = Asked(RealPrompt(prompt=prompt, kind="service", split=Split.TEST), chosen, "one", "other")
    text = Text(arm, task, Written("key", words, (1, 2), 2, kl, 0.5, 0.01))
    numbers = dict.fromkeys(("sentiment", "length", "formality"), number)
    return Judged(text, numbers, 0.5, 0.0, echoes=False, profanity=0.0, surprise=surprise)
