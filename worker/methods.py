"""Methods as streams: which weights see which prompt, and with what share of the token reward (DESIGN, section 2).

Decides; holds no tensor. A stream's coefficient in the sum of logits is `[it is the first] + strength * reward`.
"""

from collections.abc import Callable, Sequence

from db.preferences import EffectivePreference, Method
from worker.engine import Stream
from worker.formats import Format, Message, with_principles

Encode = Callable[[Sequence[Message]], tuple[int, ...]]


def streams_of(
    preference: EffectivePreference,
    messages: Sequence[Message],
    encode: Encode,
    format: Format,
) -> tuple[Stream, ...]:
    """The streams that decode `messages` under `preference`; the first one is the base and proposes candidates.

    `format` says how the principles are shown in the prompts.
    """
    principles = [principle.text for principle in preference.principles]
    plain = encode(messages)
    match preference.method:
        case Method.NONE:
            return (Stream("base", plain),)
        case Method.PROMPT:
            return (Stream("base", encode(with_principles(messages, principles, format))),)
        case Method.PAD:
            # r = log pi_policy - log pi_base, the reference being the base with the same prompt
            guided = encode(with_principles(messages, principles, format))
            return (Stream("base", guided, reward=-1.0), Stream("policy", guided, reward=1.0))
        case Method.MIXTURE:
            # r = sum_k w_k (log pi_policy(principle k) - log pi_base)
            policies = tuple(
                Stream("policy", encode(with_principles(messages, [principle.text], format)), reward=principle.weight)
                for principle in preference.principles
            )
            return (Stream("base", plain, reward=-sum(policy.reward for policy in policies)), *policies)
        case Method.CONTRAST:
            # r = log pi_base(with principles) - log pi_base(without)
            guided = encode(with_principles(messages, principles, format))
            return (Stream("base", guided, reward=1.0), Stream("base", plain, reward=-1.0))
