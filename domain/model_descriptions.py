"""What a model is and what it can do, as the worker that loaded it found out. Pure values: no table, no tensor."""

from dataclasses import dataclass

from domain.json_values import JsonObject
from domain.preferences import METHODS_WITH_POLICY, Method

SHORT_DIGEST = 8
"""Hexadecimal digits that tell models of one name apart in sentences, and the least that a request may give."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """One set of weights with everything that decides what it writes; `digest` is its identity."""

    digest: str
    """SHA-256, in hexadecimal, of all that decides its texts (`worker.model.identity`)."""
    methods: tuple[Method, ...]
    default_method: Method
    max_length: int
    """Tokens of prompt and answer together."""
    vocab_size: int
    num_template_tokens: int
    """Tokens of a conversation without text: the least that the chat template adds to any."""
    longest_token_bytes: int
    """A text of n bytes has at least n divided by this tokens; 0 where the tokenizer may leave some of a text out."""
    strength: float = 1.0
    max_kl: float | None = None
    format: str = "pad"
    card: JsonObject | None = None
    num_turn_tokens: int | None = None
    """The least that the template adds for each turn more; None where it may leave out turns before the last."""


def methods_of(*, has_policy: bool) -> tuple[Method, ...]:
    """The methods that a model can be steered by."""
    return tuple(method for method in Method if has_policy or method not in METHODS_WITH_POLICY)


def model_reference(name: str, digest: str) -> str:
    """How one of several models of a name is written."""
    return f"{name}@{digest[:SHORT_DIGEST]}"
