"""Methods as streams: which weights see which prompt, and with what share of the token reward (DESIGN, section 2).

Decides; holds no tensor. A stream's coefficient in the sum of logits is `[it is the first] + strength * reward`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from domain.preferences import EffectivePreference, Method
from worker.engine import Stream
from worker.texts.formats import Format, Message, with_examples, with_ordinary, with_principles

Encode = Callable[[Sequence[Message]], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Guide:
    """Whose log-ratios guide: `mixture` weighs those of `weights` with a principle against `reference` without."""

    weights: str
    reference: str


POLICY_GUIDE = Guide("policy", "base")
"""A PersRM against the base that it was trained on."""
REFERENCE_GUIDE = Guide("policy", "reference")
"""A PersRM against the model that it was trained on, where that is another than the base."""
BASE_GUIDE = Guide("base", "base")
"""The base against itself (Drift, arXiv 2502.14289): needs no policy."""
MODEL_GUIDE = Guide("policy", "policy")
"""Another model, usually a small one, against itself; it is loaded in the policy's place."""


def streams_of(
    preference: EffectivePreference,
    messages: Sequence[Message],
    encode: Encode,
    format: Format,
    guide: Guide = POLICY_GUIDE,
    *,
    encode_for_guide: Encode | None = None,
) -> tuple[Stream, ...]:
    """The streams that decode `messages` under `preference`; the first one is the base and proposes candidates.

    `encode_for_guide` writes the prompts of other weights than the base's, where their tokenizer is another.

    `format` says how the principles are shown in the prompts. Examples are earlier turns of every prompt but the one
    that `contrast` moves away from; where the format has an ordinary principle, that one shows it.
    """
    principles = [principle.text for principle in preference.principles]
    asked = with_examples(messages, preference.examples)
    encode_guided = encode_for_guide or encode
    match preference.method:
        case Method.NONE:
            return (Stream("base", encode(messages)),)
        case Method.PROMPT:
            return (Stream("base", encode(with_principles(asked, principles, format))),)
        case Method.PAD:
            # r = log pi_policy - log pi_reference, both with the same prompt
            guided = with_principles(asked, principles, format)
            seen = encode_guided(guided)
            reference = guide.reference if guide == REFERENCE_GUIDE else "base"
            return _against(reference, encode(guided), (Stream("policy", seen, reward=1.0),), seen)
        case Method.MIXTURE:
            # r = sum_k w_k (log pi_guide(principle k) - log pi_reference)
            guides = tuple(
                Stream(guide.weights, encode_guided(with_principles(asked, [principle.text], format)), principle.weight)
                for principle in preference.principles
            )
            plain = encode(asked)
            return _against(guide.reference, plain, guides, encode_guided(asked) if encode_for_guide else plain)
        case Method.CONTRAST:
            # r = log pi_base(with principles and examples) - log pi_base(with an ordinary principle, or without)
            preferred = encode(with_principles(asked, principles, format))
            ordinary = encode(with_ordinary(messages, format) if principles else messages)
            return (Stream("base", preferred, reward=1.0), Stream("base", ordinary, reward=-1.0))


def _against(
    reference: str, prompt: tuple[int, ...], guides: tuple[Stream, ...], seen: tuple[int, ...]
) -> tuple[Stream, ...]:
    """The base with this prompt, guided by log-ratios to a reference that has `seen` it, often the base itself."""
    total = sum(stream.reward for stream in guides)
    if reference == "base":
        return (Stream("base", prompt, reward=-total), *guides)
    return (Stream("base", prompt), *guides, Stream(reference, seen, reward=-total))
