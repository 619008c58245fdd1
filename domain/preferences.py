"""The preference: the effective guidance of one item, in canonical form. Pure values: no table, no tokenizer."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_STRENGTH = 10.0
MAX_KL = 100.0
"""Nats per token; a budget that never binds."""
MAX_EXAMPLES = 16
MAX_EXAMPLE_CHARACTERS = 2000
MAX_PRINCIPLE_CHARACTERS = 2000


class Method(StrEnum):
    """How a preference steers decoding; the streams of each are in `worker.texts.methods`."""

    NONE = "none"
    PROMPT = "prompt"
    PAD = "pad"
    MIXTURE = "mixture"
    CONTRAST = "contrast"


METHODS_WITH_POLICY = frozenset({Method.PAD})
METHODS_WITH_STRENGTH = frozenset({Method.PAD, Method.MIXTURE, Method.CONTRAST})


@dataclass(frozen=True, slots=True, order=True)
class Principle:
    """One preference statement in the user's words, and how much it counts beside the others."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class EffectivePreference:
    """What steers one item. Two items with equal preferences form a group; `hash` is its key."""

    method: Method
    strength: float
    principles: tuple[Principle, ...]
    max_kl: float | None = None
    """The most nats per token that guidance may move a step's distribution; None is no budget."""
    examples: tuple[str, ...] = ()
    """Texts that the user wrote or liked, in the order in which they are shown."""

    @property
    def body(self) -> dict[str, object]:
        """The canonical JSON object: what is stored, and what the hash is taken of.

        Budget and examples stand in it only where there are any, so that older preferences keep their hashes.
        """
        stated: dict[str, object] = {}
        if self.max_kl is not None:
            stated["max_kl"] = self.max_kl
        if self.examples:
            stated["examples"] = list(self.examples)
        return {
            "method": self.method.value,
            "strength": self.strength,
            "principles": [[principle.text, principle.weight] for principle in self.principles],
            **stated,
        }

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical body, in hexadecimal."""
        return digest(self.body)

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> "EffectivePreference":
        """The preference that `body` was made of."""
        principles, strength = body["principles"], body["strength"]
        max_kl, examples = body.get("max_kl"), body.get("examples", [])
        if (
            not isinstance(principles, list)
            or not isinstance(examples, list)
            or not isinstance(strength, int | float)
            or not isinstance(max_kl, int | float | None)
        ):
            message = "A stored preference is not in its canonical form."
            raise TypeError(message)
        return cls(
            Method(str(body["method"])),
            float(strength),
            tuple(Principle(*pair) for pair in principles),
            None if max_kl is None else float(max_kl),
            tuple(map(str, examples)),
        )


def effective_preference(
    method: Method,
    strength: float,
    principles: Iterable[Principle],
    max_kl: float | None = None,
    examples: Sequence[str] = (),
) -> EffectivePreference:
    """The canonical preference: whatever cannot change a token is removed, and the order of principles is none.

    Weights count under `mixture` alone; elsewhere a principle is either in (any weight above 0) or out. Without
    principles and examples nothing steers, whatever the method: that is `none`. With examples alone, a method that
    weighs principles has nothing to weigh, and shows the examples: that is `prompt`.
    """
    weights: dict[str, float] = {}
    for principle in principles:
        if principle.weight > 0:
            text = canonical_text(principle.text)
            weights[text] = weights.get(text, 0.0) + float(principle.weight)
    shown = tuple(dict.fromkeys(text for given in examples if (text := canonical_example(given))))
    if not (weights or shown) or method is Method.NONE:
        return EffectivePreference(Method.NONE, 0.0, ())
    if not weights and method is not Method.CONTRAST:
        method = Method.PROMPT
    weighted = method is Method.MIXTURE
    kept = tuple(Principle(text, weight if weighted else 1.0) for text, weight in sorted(weights.items()))
    if method not in METHODS_WITH_STRENGTH:
        return EffectivePreference(method, 0.0, kept, examples=shown)
    budget = float(max_kl) if max_kl is not None and strength > 0 and max_kl < MAX_KL else None
    return EffectivePreference(method, float(strength), kept, budget, shown)


def canonical_text(text: str) -> str:
    """A principle's text without the differences that mean nothing: Unicode form and runs of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def canonical_example(text: str) -> str:
    """An example's text in one Unicode form, without blank ends; its own lines and spaces are part of its style."""
    return unicodedata.normalize("NFC", text).strip()


def digest(body: object) -> str:
    """SHA-256, in hexadecimal, of a JSON value with sorted keys and no spaces."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
