"""What is compared where a PersRM guides a base with another tokenizer. No tensor."""

from dataclasses import dataclass, replace
from enum import StrEnum

from domain.preferences import Method
from evaluation.conditions import Policy
from evaluation.real import arms
from evaluation.real.arms import Arm
from worker.texts.methods import POLICY_GUIDE, REFERENCE_GUIDE, Guide


class Scores(StrEnum):
    """What of a candidate the guide's tokens are asked for."""

    TEXTS = "whole texts"
    FIRST_SUB_TOKENS = "first sub-tokens"


@dataclass(frozen=True)
class OtherBaseArm(Arm):
    """One way to write a text for a preference on such a base."""

    scores: Scores = Scores.TEXTS
    against_base: bool = False
    """Whether the base is the reference, whose logits the guide's are compared with as they are."""

    def guide(self, *, has_reference: bool) -> Guide:  # noqa: ARG002 # it has one
        """The policy, against what it was trained on or against the base."""
        return POLICY_GUIDE if self.against_base else REFERENCE_GUIDE


RELEASED_STRENGTH = 0.8
"""Of most of the released configurations."""


def compared(format: str, strength: float) -> tuple[Arm, ...]:
    """The arms, in the format and at the strength that were chosen for the PersRM on its own base."""
    pad = OtherBaseArm("pad", Method.PAD, format, strength, policy=Policy.PERSRM)
    first = replace(pad, name="first sub-token", scores=Scores.FIRST_SUB_TOKENS)
    released = replace(first, name="first sub-token, as released", strength=RELEASED_STRENGTH, against_base=True)
    return (arms.UNGUIDED, arms.prompted(format), pad, first, released)
