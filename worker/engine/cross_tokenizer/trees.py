"""What a row has to run to know how likely each of several continuations is: every beginning that they share, once.

Pure; knows token ids, no tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.engine.cross_tokenizer.retokenizing import Continued


class Term(NamedTuple):
    """One summand of a continuation's log-probability: `log pi(token | everything up to a token of the tree)`."""

    candidate: int
    node: int
    """Counted among the tree's tokens."""
    token_id: int


@dataclass(frozen=True, slots=True)
class Tree:
    """Tokens to run behind `start` tokens of a row that are in the cache; each sees those, its ancestors and itself."""

    start: int
    tokens: tuple[int, ...]
    parents: tuple[int | None, ...]
    """For each token, the one that stands before it; None for the first."""
    positions: tuple[int, ...]
    """The position of each token in its text."""
    terms: tuple[Term, ...]
    held: tuple[int, ...]
    """The text of which the row's columns hold the keys afterwards, from the first on."""

    def first_terms(self, num_candidates: int) -> tuple[Term, ...]:
        """Those of all candidates' first tokens behind what they share, in order; none where one has no such token."""
        firsts = tuple(term for term in self.terms if term.node == self.terms[0].node)
        return firsts if len(firsts) == num_candidates else ()

    def ancestors(self) -> list[list[int]]:
        """For each token, the tokens of the tree that it sees, itself included."""
        seen: list[list[int]] = []
        for node, parent in enumerate(self.parents):
            seen.append([*(seen[parent] if parent is not None else ()), node])
        return seen


def tree_of(prompt: Sequence[int], text: Continued, held: Sequence[int]) -> Tree:
    """The tree of a row with this prompt, which holds the keys of these tokens.

    What all candidates begin with is a chain whose last token is always run; below it, the first candidate comes first,
    so that its tokens need not be run again if it is chosen.
    """
    shared = common_prefix(text.endings)
    chain = (*prompt, *text.settled, *shared)
    start = min(len(common_prefix([tuple(held), chain])), len(chain) - 1)
    tokens = [*chain[start:]]
    parents: list[int | None] = [None, *range(len(tokens) - 1)]
    positions = [*range(start, len(chain))]
    root = len(tokens) - 1
    children: dict[tuple[int, int], int] = {}
    terms: list[Term] = []
    first_path: list[int] = []
    for candidate, ending in enumerate(text.endings):
        rest, node = ending[len(shared) :], root
        for depth, token_id in enumerate(rest):
            terms.append(Term(candidate, node, token_id))
            if depth == len(rest) - 1:
                break
            child = children.get((node, token_id))
            if child is None:
                child = children[node, token_id] = len(tokens)
                tokens.append(token_id)
                parents.append(node)
                positions.append(len(chain) + depth)
                if child == root + 1 + len(first_path) and node == child - 1:
                    first_path.append(token_id)
            node = child
    return Tree(start, tuple(tokens), tuple(parents), tuple(positions), tuple(terms), (*chain, *first_path))


def common_prefix(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The longest common beginning of all sequences, of which there is at least one."""
    first, last = min(sequences), max(sequences)
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]
