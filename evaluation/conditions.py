"""What compared methods differ in: what their preference says, and which weights are loaded. No tensor."""

from collections.abc import Sequence
from enum import StrEnum

from domain.preferences import Principle
from worker.texts.methods import BASE_GUIDE, POLICY_GUIDE, REFERENCE_GUIDE, Guide


class Says(StrEnum):
    """What a preference consists of."""

    NOTHING = "nothing"
    PRINCIPLES = "principles"
    WRONG = "wrong"
    """A principle that nobody asked for."""
    EXAMPLES = "examples"
    """Texts that keep the principles, and no words about them."""
    DEMONSTRATIONS = "demonstrations"
    """The principles, after earlier turns that asked for the same and got it."""


class EngineModel(StrEnum):
    """The names of an engine's models."""

    BASE = "base"
    POLICY = "policy"
    REFERENCE = "reference"
    """What the policy was trained on, where that is another model than the base."""


class Policy(StrEnum):
    """What is loaded in the policy's place."""

    NONE = "none"
    PERSRM = "PersRM"
    RANDOM = "random adapter"


def told(says: Says, wordings: Sequence[str], wrong: str) -> tuple[Principle, ...]:
    """The principles of a preference that says this, of what is asked for and of another one that is not."""
    match says:
        case Says.PRINCIPLES | Says.DEMONSTRATIONS:
            return tuple(map(Principle, wordings))
        case Says.WRONG:
            return (Principle(wrong),)
        case Says.NOTHING | Says.EXAMPLES:
            return ()


def guide_of(policy: Policy, *, has_reference: bool = False) -> Guide:
    """The guide that `mixture` uses with this in the policy's place."""
    if policy is Policy.NONE:
        return BASE_GUIDE
    return REFERENCE_GUIDE if has_reference else POLICY_GUIDE
