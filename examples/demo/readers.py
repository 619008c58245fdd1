"""Whom the demo writes for, what each of them asked for, and the items of its job. Plain values; starts nothing."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from examples.demo.corpus import make_request
from examples.demo.principles import BY_NAME
from examples.demo.topics import HELD_OUT_TOPICS
from padserve import Result

METHODS = ("none", "prompt", "pad")
NUM_PROMPTS = 12
SEED = 5

# "warm" and "urgent" are in none of the preference pairs that the policy was trained on.
READERS: Mapping[str, tuple[str, ...]] = {
    "ana": ("playful",),
    "ben": ("formal",),
    "cleo": ("concise",),
    "dario": ("detailed", "beginner"),
    "eva": ("warm",),
    "finn": ("urgent", "action"),
    "gita": ("question", "playful"),
    "hugo": ("formal", "concise"),
    "ines": ("beginner",),
    "jon": ("action", "detailed"),
}


@dataclass(frozen=True)
class Written:
    """One text of the job: for whom, from which prompt, by which method."""

    reader: str
    prompt: str
    method: str
    text: str
    num_tokens: int

    def keeps(self, principle: str) -> bool:
        """Whether the text does what the principle asks; the rule says so, not a model."""
        return BY_NAME[principle].satisfies(self.text)


def profiles() -> Iterator[dict[str, object]]:
    """The readers as profiles, in the form that an import takes."""
    for reader, names in READERS.items():
        yield {
            "user_id": reader,
            "principles": [BY_NAME[name].wordings[0] for name in names],
            "attributes": {"first_name": reader.capitalize()},
            "tags": ["demo"],
        }


def make_prompts() -> tuple[str, ...]:
    """Requests about things that no model of the demo has met in training."""
    rng = random.Random(SEED)
    return tuple(make_request(rng, topic).prompt for topic in rng.sample(HELD_OUT_TOPICS, NUM_PROMPTS))


def items(prompts: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """Every prompt for every reader by every method, named so that a result says which it is."""
    for index, prompt in enumerate(prompts):
        for reader in READERS:
            for method in METHODS:
                custom_id = f"{reader}/{index}/{method}"
                yield {"custom_id": custom_id, "user_id": reader, "prompt": prompt, "method": method}


def written_in(result: Result, prompts: tuple[str, ...]) -> Written:
    """The text that a result holds."""
    reader, index, method = result.custom_id.split("/")
    num_tokens = result.usage.completion_tokens if result.usage else 0
    return Written(reader, prompts[int(index)], method, result.text or "", num_tokens)
