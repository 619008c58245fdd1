"""Whom the demo writes for, what each of them asked for, and the items of its job. Plain values; starts nothing."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from examples.demo.corpus import make_request
from examples.demo.parts import MENTION, OPEN, PARTS, UNSEEN_PARTS
from examples.demo.principles import PRINCIPLES, UNSEEN, DemoPrinciple
from examples.demo.topics import HELD_OUT_TOPICS
from padserve import Result

METHODS = ("none", "prompt", "pad")
NUM_PROMPTS = 12
SEED = 5
STRENGTH = 0.5  # chosen on validation prompts, see docs/evaluation.md

_FORMAL, _PLAYFUL, _CONCISE, _DETAILED, _BEGINNER, _ACTION, _QUESTION, _WARM, _URGENT = PRINCIPLES
READERS: Mapping[str, tuple[DemoPrinciple, ...]] = {
    "ana": (_PLAYFUL,),
    "ben": (_FORMAL,),
    "cleo": (_CONCISE,),
    "dario": (_DETAILED, _BEGINNER),
    "eva": (_WARM,),
    "finn": (_URGENT, _ACTION),
    "gita": (_QUESTION, _PLAYFUL),
    "hugo": (_FORMAL, _CONCISE),
    "ines": (_BEGINNER, OPEN.asking(OPEN.unseen_values[0])),
    "jon": (_ACTION, MENTION.asking(MENTION.unseen_values[0])),
}
ASKED = tuple(dict.fromkeys(principle for of_reader in READERS.values() for principle in of_reader))
"""Every principle that some reader asked for."""


def is_unseen(principle: DemoPrinciple) -> bool:
    """Whether it is in none of the preference pairs that the policy was trained on."""
    unseen_values = {(part.name, value) for part in PARTS for value in part.unseen_values}
    return principle.name in (*UNSEEN, *UNSEEN_PARTS) or (principle.name, principle.value) in unseen_values


@dataclass(frozen=True)
class Written:
    """One text of the job: for whom, from which prompt, by which method."""

    reader: str
    prompt: str
    method: str
    text: str
    num_tokens: int

    @property
    def keeps_all(self) -> bool:
        """Whether the text does what its reader asked for; rules say so, not a model."""
        return all(principle.satisfies(self.text) for principle in READERS[self.reader])


def profiles() -> Iterator[dict[str, object]]:
    """The readers as profiles, in the form that an import takes."""
    for reader, asked in READERS.items():
        yield {
            "user_id": reader,
            "principles": [principle.wordings[0] for principle in asked],
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
