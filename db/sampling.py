"""How one item's tokens are chosen, apart from its preference. Pure values: no table, no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """The settings of one item, complete: what the API resolved is what the worker reads."""

    k: int = 10
    """The next token is one of the base model's k most likely."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    """A completion ends before the first of these texts."""
    rewards: bool = False
    """Keep the reward of every token, not only their sum."""

    @property
    def body(self) -> dict[str, object]:
        """The JSON object that is stored with the item."""
        return {
            "k": self.k,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop),
            "rewards": self.rewards,
        }

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> "Sampling":
        """The settings a stored body stands for; a field that an older body lacks has its default."""
        known = {field.name: body[field.name] for field in fields(cls) if field.name in body}
        stop = known.pop("stop", ())
        if not isinstance(stop, list | tuple):
            message = "Stored sampling settings are not in their canonical form."
            raise TypeError(message)
        return cls(stop=tuple(str(text) for text in stop), **known)  # type: ignore[arg-type]  # written by `body`
