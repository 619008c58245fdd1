"""The methods that are compared and the controls that could refute them, as streams. Decides; holds no tensor."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from evaluation.tasks import Task
from worker.engine import Stream
from worker.formats import PAD, Format, Message, with_principles

Encode = Callable[[list[Message]], tuple[int, ...]]
DEFAULT_STRENGTH = 1.0


class Says(StrEnum):
    """What a stream's prompt says about the preference."""

    NOTHING = "nothing"
    PRINCIPLES = "principles"
    EXAMPLES = "examples"
    """The principles, after earlier turns that asked for the same and got it."""
    WRONG = "wrong"
    """A principle that nobody asked for."""


class Weights(StrEnum):
    """Whose weights a stream runs on. The reference is the base where no other is loaded."""

    BASE = "base"
    POLICY = "policy"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Guide:
    """One stream of the token reward and its sign."""

    weights: Weights
    says: Says
    reward: float


@dataclass(frozen=True)
class Method:
    """How a text is made: who proposes the tokens, having read what, and what guides the choice."""

    name: str
    says: Says = Says.PRINCIPLES
    guides: tuple[Guide, ...] = ()
    proposer: Weights = Weights.BASE
    strength: float = 0.0
    k: int = 10
    temperature: float = 0.0

    def at(self, *, strength: float | None = None, k: int | None = None) -> "Method":
        """The same method at another strength, or with another number of candidates."""
        return replace(self, strength=self.strength if strength is None else strength, k=self.k if k is None else k)

    def streams(
        self,
        task: Task,
        encode: Encode,
        *,
        has_reference: bool,
        format: Format = PAD,
    ) -> tuple[Stream, ...]:
        """The engine's streams for one task."""

        def stream(weights: Weights, says: Says, reward: float) -> Stream:
            known = Weights.BASE if weights is Weights.REFERENCE and not has_reference else weights
            return Stream(known.value, encode(conversation(task, says, format)), reward)

        first = stream(self.proposer, self.says, 0.0)
        return (first, *(stream(guide.weights, guide.says, guide.reward) for guide in self.guides))


def conversation(task: Task, says: Says, format: Format = PAD) -> list[Message]:
    """The turns that ask for the task's text."""
    asked = [Message(role="user", content=task.prompt.prompt)]
    match says:
        case Says.NOTHING:
            return asked
        case Says.PRINCIPLES:
            return with_principles(asked, task.wordings, format)
        case Says.WRONG:
            return with_principles(asked, (task.wrong,), format)
        case Says.EXAMPLES:
            return [*_examples(task, format), *with_principles(asked, task.wordings, format)]


def _examples(task: Task, format: Format) -> list[Message]:
    """Each principle's examples, asked for in the task's wording, with the value that they have."""
    turns = []
    for principle, wording in zip(task.principles, task.wordings, strict=True):
        value = task.values.get(principle.name, "")
        for example in principle.examples:
            asked = wording.replace(value, example.value) if example.value else wording
            turns += with_principles([Message(role="user", content=example.prompt)], (asked,), format)
            turns.append(Message(role="assistant", content=example.text))
    return turns


def _log_ratio(says: Says) -> tuple[Guide, ...]:
    return (Guide(Weights.POLICY, says, 1.0), Guide(Weights.REFERENCE, says, -1.0))


UNGUIDED = Method("unguided", says=Says.NOTHING)
PROMPTED = Method("prompt only")
FEW_SHOT = Method("few-shot in context", says=Says.EXAMPLES)
GUIDED = Method("guided", guides=_log_ratio(Says.PRINCIPLES), strength=DEFAULT_STRENGTH)
# As `mixture` does it: the base, which knows of no preference, is also the reference.
GUIDED_UNPROMPTED = Method(
    "guided, base not prompted",
    says=Says.NOTHING,
    guides=(Guide(Weights.POLICY, Says.PRINCIPLES, 1.0), Guide(Weights.REFERENCE, Says.NOTHING, -1.0)),
    strength=DEFAULT_STRENGTH,
)
NO_PREFERENCE = Method(
    "guided, no preference text", says=Says.NOTHING, guides=_log_ratio(Says.NOTHING), strength=DEFAULT_STRENGTH
)
WRONG = Method("guided, wrong preference", says=Says.WRONG, guides=_log_ratio(Says.WRONG), strength=DEFAULT_STRENGTH)
POLICY_ALONE = Method("policy alone", proposer=Weights.POLICY)
# Needs no policy: the base with the principles against the base without.
CONTRAST = Method(
    "contrast, no policy",
    guides=(Guide(Weights.BASE, Says.PRINCIPLES, 1.0), Guide(Weights.BASE, Says.NOTHING, -1.0)),
    strength=DEFAULT_STRENGTH,
)
RANDOM_ADAPTER = replace(GUIDED, name="guided by a random adapter")
SAMPLED = replace(PROMPTED, name="best of n", temperature=1.0)
