"""What is compared on real models: methods as they are served, by `worker.texts.methods`, and controls. No tensor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.preferences import EffectivePreference, Method
from evaluation.conditions import Policy, Says, guide_of, told
from evaluation.real.suite import Asked
from worker.engine import Stream
from worker.model.card import Card
from worker.texts.formats import BUILT_IN, Message
from worker.texts.methods import Encode, Guide, streams_of


@dataclass(frozen=True)
class Arm:
    """One way to write a text for a preference."""

    name: str
    method: Method
    format: str = "system"
    strength: float = 1.0
    max_kl: float | None = None
    says: Says = Says.PRINCIPLES
    policy: Policy = Policy.NONE
    temperature: float = 0.0
    top_p: float = 1.0
    sample: int = 0
    """Tells the samples of one request apart."""

    def at(self, *, strength: float, max_kl: float | None = None) -> "Arm":
        """The same arm with as much guidance as this."""
        return replace(self, strength=strength, max_kl=max_kl)

    def preference(self, asked: Asked) -> EffectivePreference:
        """What the text is steered by."""
        return EffectivePreference(
            self.method,
            self.strength,
            told(self.says, (asked.wording,), asked.wrong),
            max_kl=self.max_kl,
            examples=asked.principle.examples if self.says is Says.EXAMPLES else (),
        )

    def streams(self, asked: Asked, encode: Encode, encode_for_guide: Encode | None = None) -> tuple[Stream, ...]:
        """The engine's streams, made where served items get theirs; guides with other tokens have their own prompts."""
        return streams_of(
            self.preference(asked),
            [Message(role="user", content=asked.prompt.prompt)],
            encode,
            BUILT_IN[self.format],
            self.guide(has_reference=encode_for_guide is not None),
            encode_for_guide=encode_for_guide,
        )

    def guide(self, *, has_reference: bool) -> Guide:
        """What guides, and against what."""
        return guide_of(self.policy, has_reference=has_reference)

    def told(self, asked: Asked) -> str:
        """What the model reads of the preference, as far as it is in words: a text must not repeat it."""
        shown = [principle.text for principle in self.preference(asked).principles]
        return BUILT_IN[self.format].filled(shown) if shown else ""

    @property
    def settings(self) -> str:
        """The arm's format, strength and budget in words, for tables."""
        if self.method is Method.NONE:
            return ""
        guided = self.method is not Method.PROMPT
        parts = [
            self.format if self.says is not Says.EXAMPLES else "",
            f"strength {self.strength:.3g}" if guided else "",
        ]
        parts.append("" if self.max_kl is None else f"at most {self.max_kl:g} nats")
        return ", ".join(part for part in parts if part)


FORMATS = tuple(BUILT_IN)
UNGUIDED = Arm("unguided", Method.NONE)
STRENGTHS = (0.5, 1.0)
BUDGETS = (0.1, 0.3)
BUDGETED_STRENGTH = 4.0
"""What a budget cuts: more than any model bears without one."""


def prompted(format: str) -> Arm:
    """Told of the preference and not guided."""
    return Arm(f"prompt only, {format}", Method.PROMPT, format)


def contrast(format: str, strength: float = 1.0, max_kl: float | None = None) -> Arm:
    """The base with the preference against the base without."""
    return Arm("contrast" if max_kl is None else "contrast, budget", Method.CONTRAST, format, strength, max_kl)


def uncalibrated(card: Card) -> Arm:
    """What a new user gets who names a model and nothing else: `card` is the one that such a model is given."""
    assert card.method is not None  # noqa: S101 # complete, as `worker.texts.decoder.completed` gives it
    assert card.strength is not None  # noqa: S101
    return Arm("uncalibrated default", card.method, card.format.name, card.strength, card.max_kl)


def pad(format: str, strength: float, max_kl: float | None = None) -> Arm:
    """A PersRM against its base, in the format that it was trained with."""
    return Arm("pad" if max_kl is None else "pad, budget", Method.PAD, format, strength, max_kl, policy=Policy.PERSRM)


def controls(best: Arm) -> Sequence[Arm]:
    """What could explain the best arm's effect, or do without it."""
    return (
        replace(best, name="wrong principle", says=Says.WRONG),
        Arm("mixture", Method.MIXTURE, best.format, best.strength, best.max_kl),
        Arm("few-shot", Method.PROMPT, best.format, says=Says.EXAMPLES),
        Arm("contrast with examples", Method.CONTRAST, best.format, best.strength, best.max_kl, says=Says.EXAMPLES),
    )


def samples(format: str, number: int) -> tuple[Arm, ...]:
    """Answers of the prompted base to choose the best of."""
    sampled = Arm("best of n", Method.PROMPT, format, temperature=0.7, top_p=0.9)
    return tuple(replace(sampled, sample=place) for place in range(number))
