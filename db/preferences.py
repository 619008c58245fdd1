"""The preference: the effective guidance of one item, in canonical form. Pure values: no table, no tokenizer."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_STRENGTH = 10.0
MAX_PRINCIPLE_CHARACTERS = 2000


class Method(StrEnum):
    """How a preference steers decoding; the streams of each are in `worker.methods`."""

    NONE = "none"
    PROMPT = "prompt"
    PAD = "pad"
    MIXTURE = "mixture"
    CONTRAST = "contrast"


METHODS_WITH_POLICY = frozenset({Method.PAD, Method.MIXTURE})
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

    @property
    def body(self) -> dict[str, object]:
        """The canonical JSON object: what is stored, and what the hash is taken of."""
        return {
            "method": self.method.value,
            "strength": self.strength,
            "principles": [[principle.text, principle.weight] for principle in self.principles],
        }

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical body, in hexadecimal."""
        return digest(self.body)

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> "EffectivePreference":
        """The preference a stored body stands for."""
        principles = body["principles"]
        strength = body["strength"]
        if not isinstance(principles, list) or not isinstance(strength, int | float):
            message = "A stored preference is not in its canonical form."
            raise TypeError(message)
        return cls(Method(str(body["method"])), float(strength), tuple(Principle(*pair) for pair in principles))


def effective_preference(method: Method, strength: float, principles: Iterable[Principle]) -> EffectivePreference:
    """The canonical preference: whatever cannot change a token is removed, and order does not matter.

    Weights count under `mixture` alone; elsewhere a principle is either in (any weight above 0) or out. Without
    principles nothing steers, whatever the method: that is `none`.
    """
    weights: dict[str, float] = {}
    for principle in principles:
        if principle.weight > 0:
            text = canonical_text(principle.text)
            weights[text] = weights.get(text, 0.0) + float(principle.weight)
    if not weights or method is Method.NONE:
        return EffectivePreference(Method.NONE, 0.0, ())
    weighted = method is Method.MIXTURE
    kept = tuple(Principle(text, weight if weighted else 1.0) for text, weight in sorted(weights.items()))
    return EffectivePreference(method, float(strength) if method in METHODS_WITH_STRENGTH else 0.0, kept)


def canonical_text(text: str) -> str:
    """A principle's text without the differences that mean nothing: Unicode form and runs of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def digest(body: object) -> str:
    """SHA-256, in hexadecimal, of a JSON value with sorted keys and no spaces."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
