"""What is decoded: prompts behind a preference prefix, answers of log-normal lengths. The seed is fixed."""

import math
import random
from dataclasses import dataclass

from worker.engine import Request, Stream

MEDIAN_LENGTH, LONGEST, SPREAD = 48, 256, 0.8
STRENGTH, K = 0.8, 10


@dataclass(frozen=True)
class Workload:
    """Prompts, and how many tokens each answer has."""

    prompts: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Of all answers."""
        return sum(self.lengths)

    def first(self, count: int) -> "Workload":
        """A smaller one."""
        return Workload(self.prompts[:count], self.lengths[:count])

    def guided(self) -> list[Request]:
        """PAD with the base as reference: two streams per request."""
        return [
            Request(
                index,
                (Stream("base", prompt, reward=-1.0), Stream("policy", prompt, reward=1.0)),
                strength=STRENGTH,
                k=K,
                max_tokens=length,
            )
            for index, (prompt, length) in enumerate(zip(self.prompts, self.lengths, strict=True))
        ]

    def unguided(self) -> list[Request]:
        """The base alone."""
        return [
            Request(index, (Stream("base", prompt),), k=1, max_tokens=length)
            for index, (prompt, length) in enumerate(zip(self.prompts, self.lengths, strict=True))
        ]


def make_workload(
    num_requests: int, vocab_size: int, *, prefix: int = 30, num_groups: int = 4, seed: int = 0
) -> Workload:
    """Prompts of 16 to 48 tokens behind one of `num_groups` preference prefixes of `prefix` tokens."""
    rng = random.Random(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(1, vocab_size) for _ in range(count))

    prefixes = [draw(prefix) for _ in range(num_groups)]
    prompts = tuple(prefixes[index % num_groups] + draw(rng.randint(16, 48)) for index in range(num_requests))
    lengths = tuple(
        max(1, min(LONGEST, round(rng.lognormvariate(math.log(MEDIAN_LENGTH), SPREAD)))) for _ in range(num_requests)
    )
    return Workload(prompts, lengths)
