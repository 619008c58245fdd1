"""Whom the real demo writes for, what each of them asked for, and the items of its job. Plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from padserve import Result

METHODS = ("none", "prompt", "contrast")
EVERYONE = "everyone"
"""The profile that says nothing: what it gets is unguided."""


@dataclass(frozen=True)
class Reader:
    """One profile."""

    principles: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    """Texts of the reader's own."""

    @property
    def wishes(self) -> str:
        """What the reader asked for, in a line."""
        return "; ".join(self.principles) or f"texts like {len(self.examples)} of their own"


READERS: Mapping[str, Reader] = {
    "ana": Reader(("formal business language",)),
    "ben": Reader(("cheerful and enthusiastic, like a friend",)),
    "jack": Reader(("write like a pirate",)),
    "mia": Reader(("simple words that a child understands",)),
    "otto": Reader(("short and matter-of-fact",)),
    "noor": Reader(
        examples=(
            "hey you! the bakery on the corner has lemon cake again. see you there? hugs, noor",
            "hey you! my train is late, so start without me. save me a seat? hugs, noor",
            "hey you! the lake is warm enough to swim now. come along on sunday? hugs, noor",
        )
    ),
}
PROMPTS = (
    "Write a short message that tells a customer that their parcel will arrive one day late.",
    "Write a two-sentence invitation to our summer party on Friday evening.",
    "Explain in two or three sentences why the sky is blue.",
    "Write a short product description of a reusable water bottle.",
)


@dataclass(frozen=True)
class Written:
    """One text of the job: for whom, from which prompt, by which method, and what guidance did."""

    reader: str
    prompt: str
    method: str
    text: str
    num_tokens: int
    kl: float | None = None
    """Mean nats per token by which guidance moved the model."""
    reward: float | None = None


def profiles() -> Iterator[dict[str, object]]:
    """The readers as profiles, in the form that an import takes, and one who asks for nothing."""
    for name, reader in {**READERS, EVERYONE: Reader()}.items():
        yield {
            "user_id": name,
            "principles": list(reader.principles),
            "examples": list(reader.examples),
            "attributes": {"first_name": name.capitalize()},
            "tags": ["demo"] if name != EVERYONE else [],
        }


def items() -> Iterator[dict[str, object]]:
    """Every prompt once unguided, and for every reader prompted and guided, named so that a result says which it is."""
    for index, prompt in enumerate(PROMPTS):
        yield _item(EVERYONE, index, "none", prompt)
        for reader in READERS:
            for method in METHODS[1:]:
                yield _item(reader, index, method, prompt)


def _item(reader: str, index: int, method: str, prompt: str) -> dict[str, object]:
    return {"custom_id": f"{reader}/{index}/{method}", "user_id": reader, "prompt": prompt, "method": method}


def written_in(result: Result) -> Written:
    """The text that a result holds."""
    reader, index, method = result.custom_id.split("/")
    num_tokens = result.usage.completion_tokens if result.usage else 0
    prompt = PROMPTS[int(index)]
    return Written(reader, prompt, method, result.text or "", num_tokens, result.kl, result.reward)
