"""Which beginnings several waiting prompts share, and which of them have been read. Decides; runs nothing.

Users of one group have the same guidelines in front of their prompts, a campaign the same prompt behind the same
chat turn. Nobody has to say so: the prompts that wait are compared token by token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from worker.engine.layers.attention import SharedPrefix
from worker.engine.streams import StreamWeights

MIN_TOKENS = 8
"""A shorter prefix costs more to look after than to read again."""
GOOD_ENOUGH = 0.75
"""A prefix that was read is preferred to one that would save more, if it has this share of its length."""


@dataclass(frozen=True, slots=True)
class PrefixKey:
    """Names a prefix: its token ids and the weights that read them. Other weights have other keys and values for it."""

    weights: StreamWeights
    token_ids: tuple[int, ...]


TicketId: TypeAlias = int | str | PrefixKey
"""What is read into rows: a request, by its id, or a prefix that several share."""


@dataclass(slots=True)
class _Node:
    """A node of the prefix tree: how many waiting prompts go through this token, and which tokens follow."""

    num_prompts: int = 0
    next: "dict[int, _Node]" = field(default_factory=dict)


class Prefixes:
    """The prompts that wait, as one tree per weights, and the prefixes that were read, the least used first."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._trees: dict[StreamWeights, _Node] = {}
        self._read: dict[PrefixKey, SharedPrefix] = {}  # not an OrderedDict, which hashes its keys when it is walked

    def add(self, weights: StreamWeights, prompt: Sequence[int]) -> None:
        """Count a prompt that waits to be read by these weights."""
        node = self._trees.setdefault(weights, _Node())
        for token in prompt:
            node = node.next.setdefault(token, _Node())
            node.num_prompts += 1

    def remove(self, weights: StreamWeights, prompt: Sequence[int]) -> None:
        """Take back what `add` counted for a prompt."""
        node = self._trees[weights]
        for token in prompt:
            child = node.next[token]
            child.num_prompts -= 1
            if child.num_prompts == 0:
                del node.next[token]
                return
            node = child

    def find(self, weights: StreamWeights, prompt: Sequence[int]) -> SharedPrefix | None:
        """The longest prefix of the prompt that was read; at least one token is left to run."""
        best: PrefixKey | None = None
        for key in self._read:  # compared, not looked up: hashing a beginning costs more than finding that it differs
            length = len(key.token_ids)
            if key.weights != weights or length >= len(prompt) or (best and length <= len(best.token_ids)):
                continue
            if tuple(prompt[:length]) == key.token_ids:
                best = key
        if best is None:
            return None
        self._read[best] = self._read.pop(best)
        return self._read[best]

    def missing(self, weights: StreamWeights, prompt: Sequence[int]) -> PrefixKey | None:
        """What to read first, because this waiting prompt and others begin with it; None where nothing is gained."""
        length = self._most_saving_length(weights, prompt)
        if length < MIN_TOKENS:
            return None
        found = self.find(weights, prompt)
        if found is not None and len(found) >= GOOD_ENOUGH * length:
            return None
        return PrefixKey(weights, tuple(prompt[:length]))

    def _most_saving_length(self, weights: StreamWeights, prompt: Sequence[int]) -> int:
        """The length that leaves the fewest tokens to run: all prompts but one are spared it."""
        node = self._trees[weights]
        best = saved = 0
        for length, token in enumerate(prompt[:-1], start=1):
            node = node.next[token]
            if node.num_prompts == 1:
                break
            if (node.num_prompts - 1) * length > saved:
                best, saved = length, (node.num_prompts - 1) * length
        return best

    def keep(self, key: PrefixKey, prefix: SharedPrefix) -> None:
        """A prefix was read. The least used ones are forgotten once they hold too many tokens together."""
        self._read[key] = prefix
        num_tokens = sum(len(kept) for kept in self._read.values())
        while num_tokens > self._max_tokens and len(self._read) > 1:
            num_tokens -= len(self._read.pop(next(iter(self._read))))

    @property
    def kept(self) -> Mapping[PrefixKey, SharedPrefix]:
        """The prefixes that were read and are kept, the least used first."""
        return self._read

    def forget(self) -> None:
        """Let go of every prefix that was read; rows that use one keep it."""
        self._read.clear()
