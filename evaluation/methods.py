"""The methods that are compared, as they are served, and the controls that could refute them. Holds no tensor.

The streams are `worker.texts.methods`': a control is another preference, other weights or another proposer, never
another spelling of a method.
"""

from dataclasses import dataclass, replace

from domain.preferences import EffectivePreference
from domain.preferences import Method as Served
from evaluation.conditions import EngineModel, Policy, Says, guide_of, told
from evaluation.tasks import Task
from worker.engine import Stream
from worker.texts.formats import PAD, Format, Message, with_principles
from worker.texts.methods import Encode, streams_of

DEFAULT_STRENGTH = 1.0


@dataclass(frozen=True)
class Arm:
    """How a text is made: by which served method, from a preference that says what, on which weights."""

    name: str
    served: Served
    says: Says = Says.PRINCIPLES
    policy: Policy = Policy.NONE
    proposer: EngineModel = EngineModel.BASE
    """The model whose likeliest tokens are the candidates; another than the base writes alone."""
    strength: float = 0.0
    k: int = 10
    temperature: float = 0.0

    def at(self, *, strength: float | None = None, k: int | None = None) -> "Arm":
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
        """The engine's streams for one task, made where served items get theirs."""
        preference = EffectivePreference(self.served, self.strength, told(self.says, task.wordings, task.wrong))
        guide = guide_of(self.policy, has_reference=has_reference)
        first, *others = streams_of(preference, conversation(task, self.says, format), encode, format, guide)
        return (replace(first, weights=self.proposer.value), *others)


def conversation(task: Task, says: Says, format: Format = PAD) -> list[Message]:
    """The turns that ask for the task's text, the preference not yet shown in the last one."""
    earlier = _demonstrations(task, format) if says is Says.DEMONSTRATIONS else []
    return [*earlier, Message(role="user", content=task.prompt.prompt)]


def _demonstrations(task: Task, format: Format) -> list[Message]:
    """Each principle's examples, asked for in the task's wording, with the value that they have.

    A format of the system turn has no place in earlier turns: there they are asked for without the wording.
    """
    turns = []
    for principle, wording in zip(task.principles, task.wordings, strict=True):
        value = task.values.get(principle.name, "")
        for example in principle.examples:
            asked = wording.replace(value, example.value) if example.value else wording
            shown = (asked,) if format.role == "user" else ()
            turns += with_principles([Message(role="user", content=example.prompt)], shown, format)
            turns.append(Message(role="assistant", content=example.text))
    return turns


UNGUIDED = Arm("unguided", Served.NONE, says=Says.NOTHING)
PROMPTED = Arm("prompt only", Served.PROMPT)
FEW_SHOT = Arm("few-shot in context", Served.PROMPT, says=Says.DEMONSTRATIONS)
GUIDED = Arm("guided", Served.PAD, policy=Policy.PERSRM, strength=DEFAULT_STRENGTH)
GUIDED_UNPROMPTED = replace(GUIDED, name="guided, base not prompted", served=Served.MIXTURE)
NO_PREFERENCE = replace(GUIDED, name="guided, no preference text", says=Says.NOTHING)
WRONG = replace(GUIDED, name="guided, wrong preference", says=Says.WRONG)
POLICY_ALONE = Arm("policy alone", Served.PROMPT, policy=Policy.PERSRM, proposer=EngineModel.POLICY)
CONTRAST = Arm("contrast, no policy", Served.CONTRAST, strength=DEFAULT_STRENGTH)
RANDOM_ADAPTER = replace(GUIDED, name="guided by a random adapter", policy=Policy.RANDOM)
SAMPLED = replace(PROMPTED, name="best of n", temperature=1.0)
