"""Rows of a guide with a tokenizer of its own: they do not decode, they judge what the candidates add to a text."""

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nan

from worker.engine.batch_layout import Line
from worker.engine.cache.prefixes import PrefixKey, TicketId
from worker.engine.cross_tokenizer.retokenizing import Continued
from worker.engine.cross_tokenizer.texts import Texts
from worker.engine.cross_tokenizer.tree_block import branches, tree_block
from worker.engine.cross_tokenizer.trees import Tree, tree_of
from worker.engine.rows import PromptChunk, Row, RowKey
from worker.engine.runner import Runner
from worker.engine.streams import StreamWeights

LOGITS_AT_ONCE = 2**25
"""Logits that exist at once: 128 MiB in float32."""
STATES_AT_ONCE = 64
"""Hidden states whose logits exist at once on a processor: enough for its products, and they stay in its caches."""
TOKENS_PER_TOKEN = 2
"""Tokens of the guide's that are promised for each of an answer's: more than texts have, but for rare scripts."""
BRANCHED_TOKENS = 32
"""Tokens that its candidates are promised beside the text: more than ten of them have, as a rule."""
MOST_RUN_AT_ONCE = 2048
"""Tokens of a forward, unless one row has more: candidates in a script that the guide writes in bytes have many."""

_GIVEN = PrefixKey(StreamWeights(0), ())
"""The owner of a text that is given, not written."""


class TextRunner(Runner):
    """Judges what the base's candidates add to its rows' texts.

    `run` reads prompts only, `columns` gives `log pi(text with the candidate)` of each candidate, up to a number that
    all of a row share, and `feed` takes the base's tokens. There are no base streams among its rows.
    """

    proposes = False

    def __init__(self, proved: Runner, texts: Texts) -> None:
        """Take the place of a runner that has been proved, and has no rows."""
        super().__init__(proved.decoder, proved.head)
        self.reads_in_place, self.windows = proved.reads_in_place, proved.windows
        self.texts = texts
        self._prompts: dict[RowKey, tuple[int, ...]] = {}
        """Token ids of each row's prompt, as far as they were read."""
        self._held: dict[RowKey, tuple[int, ...]] = {}
        """Token ids whose keys a row's columns hold."""

    def row_bytes(self, num_tokens: int, max_tokens: int = 0) -> int:
        """What a row of so many of its own tokens takes, and an answer of so many of the base's with its candidates."""
        spelt = TOKENS_PER_TOKEN * max_tokens + BRANCHED_TOKENS if max_tokens else 0
        return super().row_bytes(num_tokens, spelt)

    @property
    def cache_tokens(self) -> int:
        """Tokens that the rows in use hold in the cache: none is pending."""
        return sum(self.table.lengths)

    @torch.inference_mode()
    def run(self, pieces: Sequence[PromptChunk]) -> Tensor:
        """Read pieces of prompts; there are no hidden states to give."""
        pieces = self._place(pieces)
        if not pieces:
            return self._nothing
        self._forward(Line.of(pieces, self._device), self._piece_blocks(pieces, first_token=0))
        for piece in pieces:
            before = self._prompts.get(piece.key, piece.prefix.token_ids if piece.prefix else ())
            self._prompts[piece.key] = self._held[piece.key] = (*before[: piece.start], *piece.token_ids)
        return self._nothing

    @torch.inference_mode()
    def columns(self, hidden: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:  # noqa: ARG002 (there are none)
        """[m, K], of rows [m] and the base's candidates [m, K]: NaN where a text has outgrown the model."""
        of_rows = dict(zip(rows.tolist(), token_ids.tolist(), strict=True))
        texts = self.texts.continued({self.table.rows[row].key[0]: candidates for row, candidates in of_rows.items()})
        judging = self.table.rows[: len(of_rows)]  # all that decode
        fitting = [self._tree(row.key, texts[row.key[0]]) for row in judging]
        self.outgrown |= {row.key[0] for row, tree in zip(judging, fitting, strict=True) if tree is None}
        trees = [self._in_vain(row.key) if tree is None else tree for row, tree in zip(judging, fitting, strict=True)]
        lengths = [tree.start - row.offset + len(tree.tokens) for row, tree in zip(judging, trees, strict=True)]
        self.table.lengths[: len(judging)] = lengths
        self._cache.reserve(self.table.lengths)
        summed = self._judged(trees, judging, token_ids.shape[1], first_row=0)
        summed[[tree is None for tree in fitting]] = nan
        return summed[rows]

    @torch.inference_mode()
    def feed(self, tokens: Tensor) -> None:
        """Append the tokens [n] of the base that were chosen to the texts of the rows of `decoding_keys`."""
        chosen = {key[0]: token for key, token in zip(self.decoding_keys, tokens.tolist(), strict=True)}
        for request_id, token_id in chosen.items():
            self.texts.append(request_id, token_id)
        self._tokens = self._positions = tokens  # of no use here, but as many as there are rows
        if self.table.join():
            self._describe()

    def _release(self, request_ids: Collection[TicketId], *, scrub: bool) -> None:
        super()._release(request_ids, scrub=scrub)
        self._forget(request_ids)

    @torch.inference_mode()
    def judge(
        self,
        streams: Sequence[tuple[int, tuple[int, ...]]],
        before: Sequence[int],
        token_ids: Sequence[int],
        candidates: Tensor,
    ) -> Iterator[Tensor]:
        """[m, K] float64 at each place of a text of the base's tokens [n] behind others, of candidates [n, K].

        `streams` [m] are adapters and prompts. Nothing is kept, nobody else is touched.
        """
        texts = self.texts
        rows = [Row((_GIVEN, index), adapter, prefix=None) for index, (adapter, _) in enumerate(streams)]
        for row, (_, prompt) in zip(rows, streams, strict=True):
            self._prompts[row.key], self._held[row.key] = prompt, ()
        try:
            for token_id in before:
                texts.append(_GIVEN, token_id)
            for token_id, of_place in zip(token_ids, candidates.tolist(), strict=True):
                yield self._judged_aside(rows, texts.continued({_GIVEN: of_place})[_GIVEN])
                texts.append(_GIVEN, token_id)
            self.clear_place(len(rows))
        finally:
            self._forget({_GIVEN})

    def _judged_aside(self, rows: Sequence[Row], text: Continued) -> Tensor:
        """[m, K], in rows of the cache behind those that are in use."""
        fitting = [tree for row in rows if (tree := self._tree(row.key, text)) is not None]
        num_candidates = len(text.endings)
        if len(fitting) < len(rows):
            return torch.full((len(rows), num_candidates), nan, dtype=torch.float64, device=self._device)
        self.make_place([tree.start + len(tree.tokens) for tree in fitting])
        return self._judged(fitting, rows, num_candidates, first_row=len(self.table))

    @torch.inference_mode()
    def tree_error(
        self, trunk: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...], adapter: int
    ) -> float:
        """How far the logits of a text on the second branch of a tree are from those of the text alone."""
        row = Row((_GIVEN, 0), adapter, prefix=None)
        tree = tree_of(trunk, Continued((), (first, second)), ())
        self.make_place([len(tree.tokens)])
        on_branch = self._run_trees([tree], [row], first_row=len(self.table))[-1:]
        text = PromptChunk(row.key, adapter, (*trunk, *second[:-1]), start=0, is_last=True)
        alone = self.read([text], len(text.token_ids))[-1:]
        self._forget({_GIVEN})
        found, expected = (self._logits_at(states, [adapter]).float() for states in (on_branch, alone))
        return float((found - expected).norm() / expected.norm())

    def text_ids(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """The text that these tokens of the base spell, in this model's own tokens."""
        return self.texts.whole(token_ids)

    def _forget(self, request_ids: Collection[TicketId]) -> None:
        self.outgrown -= {*request_ids}
        for of_rows in (self._prompts, self._held):
            for key in [key for key in of_rows if key[0] in request_ids]:
                del of_rows[key]
        self.texts.forget(request_ids)

    def _tree(self, key: RowKey, text: Continued) -> Tree | None:
        """What the row has to run; None where the text has outgrown the model."""
        tree = tree_of(self._prompts[key], text, self._held[key])
        return tree if max(tree.positions) < self.max_length else None

    def _in_vain(self, key: RowKey) -> Tree:
        held = self._held[key]
        return Tree(len(held) - 1, held[-1:], (None,), (len(held) - 1,), (), held)

    def _judged(self, trees: Sequence[Tree], rows: Sequence[Row], num_candidates: int, *, first_row: int) -> Tensor:
        """[n, K] float64, of neighbouring rows, as many in one forward as are not too many tokens."""
        judged = []
        for part in _at_once(trees):
            hidden = self._run_trees(trees[part], rows[part], first_row=first_row + part.start)
            judged.append(self._summed(hidden, rows[part], trees[part], num_candidates))
        return torch.cat(judged)

    def _run_trees(self, trees: Sequence[Tree], rows: Sequence[Row], *, first_row: int) -> Tensor:
        """[tokens, d], of the trees of neighbouring rows."""
        for row, tree in zip(rows, trees, strict=True):
            self._held[row.key] = tree.held[: tree.start]  # if this fails, no more is known
        first_tokens = [0, *accumulate(len(tree.tokens) for tree in trees)]
        most = max(1, -(-len(trees) // self.num_blocks))
        blocks = [
            tree_block(
                trees[start : start + most],
                rows[start : start + most],
                first_row=first_row + start,
                first_token=first_tokens[start],
                device=self._device,
            )
            for start in range(0, len(trees), most)
        ]
        adapters = [row.adapter for row, tree in zip(rows, trees, strict=True) for _ in tree.tokens]
        line = Line(
            tokens=self._index([token for tree in trees for token in tree.tokens]),
            positions=self._index([position for tree in trees for position in tree.positions]),
            adapters=self._index(adapters),
            used={*adapters},
            branches=branches(trees, rows) if self._device.type == "cpu" else None,
        )
        hidden = self._forward(line, blocks)
        for row, tree in zip(rows, trees, strict=True):
            self._held[row.key] = tree.held
        return hidden

    def _summed(self, hidden: Tensor, rows: Sequence[Row], trees: Sequence[Tree], num_candidates: int) -> Tensor:
        """[n, K] float64: each candidate's terms, of the hidden states [tokens, d] of all trees."""
        first_tokens = [0, *accumulate(len(tree.tokens) for tree in trees)]
        total = torch.zeros(len(trees), num_candidates, dtype=torch.float64, device=self._device)
        firsts = [tree.first_terms(num_candidates) for tree in trees]
        alike = [index for index, terms in enumerate(firsts) if terms]
        if alike:  # what normalises these logits is the same for all candidates
            nodes = [first_tokens[index] + firsts[index][0].node for index in alike]
            token_ids = self._index([[term.token_id for term in firsts[index]] for index in alike])
            adapters = self._told_apart([rows[index].adapter for index in alike])
            total[alike] = self.head.columns(hidden[self._index(nodes)], token_ids, adapters).double()
        known: dict[int, int] = {}
        others: list[tuple[int, int, int]] = []  # place in the result, of the node among those asked, token
        of_nodes: list[int] = []
        for index, (row, tree) in enumerate(zip(rows, trees, strict=True)):
            for term in tree.terms:
                node = first_tokens[index] + term.node
                if firsts[index] and term.node == firsts[index][0].node:
                    continue
                if node not in known:
                    known[node] = len(known)
                    of_nodes.append(row.adapter)
                others.append((index * num_candidates + term.candidate, known[node], term.token_id))
        if others:
            places, asked, token_ids = self._index(others).T
            states = hidden[self._index([*known])]
            total.view(-1).index_add_(0, places, self._log_probabilities(states, of_nodes, asked, token_ids))
        return total

    @torch.inference_mode()
    def log_probabilities(self, hidden: Tensor, adapter: int, token_ids: Sequence[int]) -> Tensor:
        """[n] float64, of tokens [n] behind hidden states [n, d] of a text."""
        places = self._index(range(len(token_ids)))
        return self._log_probabilities(hidden, [adapter] * len(token_ids), places, self._index(token_ids))

    def _log_probabilities(self, hidden: Tensor, adapters: Sequence[int], asked: Tensor, token_ids: Tensor) -> Tensor:
        """[terms] float64, of tokens [terms] behind the hidden states [nodes, d] that `asked` [terms] names."""
        at_once = max(1, LOGITS_AT_ONCE // self.head.vocab_size)
        if self._device.type == "cpu":
            at_once = min(at_once, STATES_AT_ONCE)
        found = torch.empty(len(asked), dtype=torch.float64, device=self._device)
        for start in range(0, len(hidden), at_once):
            part = slice(start, start + at_once)
            logits = self._logits_at(hidden[part], adapters[part]).float()
            here = ((asked >= start) & (asked < start + at_once)).nonzero()[:, 0]
            of_nodes = asked[here] - start
            norms = logits.logsumexp(1).double()
            found[here] = logits[of_nodes, token_ids[here]].double() - norms[of_nodes]
        return found


def _at_once(trees: Sequence[Tree]) -> list[slice]:
    """Which trees are run in one forward, one part behind the other."""
    parts, num_tokens = [slice(0, 0)], 0
    for index, tree in enumerate(trees):
        num_tokens += len(tree.tokens)
        if num_tokens > MOST_RUN_AT_ONCE and index > parts[-1].start:
            parts.append(slice(index, index))
            num_tokens = len(tree.tokens)
        parts[-1] = slice(parts[-1].start, index + 1)
    return parts
