"""Rows of a guide with a tokenizer of its own: they do not decode, they judge what the candidates add to a text."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nan
from transformers import PreTrainedModel

from worker.engine.attention import AttentionBlock, AttentionMetadata
from worker.engine.batch_layout import PromptChunk, RowKey, piece_block, written
from worker.engine.cross_tokenizer.retokenizing import Continued, GrowingText, Retokenizer
from worker.engine.cross_tokenizer.spelling import Spelling
from worker.engine.cross_tokenizer.tree_block import tree_block
from worker.engine.cross_tokenizer.trees import Tree, tree_of
from worker.engine.lora import AdapterRows
from worker.engine.prefixes import PrefixKey
from worker.engine.runner import Runner

LOGITS_AT_ONCE = 2**25
"""Logits that exist at once: 128 MiB in float32."""
TOKENS_PER_TOKEN = 2
"""Of the guide's, for one of the base's: more than texts have, the candidates' own included."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """How a guide reads what the base writes."""

    spelling: Spelling
    """Of the base's tokens."""
    retokenizer: Retokenizer
    """The guide's."""
    ends: frozenset[int]
    """The base's tokens that end an answer."""
    end: int | None
    """The guide's; None where nothing ends its answers: then an end adds nothing."""


class TextRunner(Runner):
    """An ordinary runner, as which it is proved, until it is told how it reads what the base writes.

    From then on `run` reads prompts only, `columns` gives `log pi(text with the candidate)` of each candidate, up to a
    number that all of a row share, and `feed` takes the base's tokens. There are no base streams among its rows.
    """

    def __init__(self, model: PreTrainedModel, adapters: AdapterRows | None, max_length: int) -> None:
        super().__init__(model, adapters, max_length)
        self._crossing: Crossing | None = None
        self._prompts: dict[RowKey, tuple[int, ...]] = {}
        """As far as they were read."""
        self._held: dict[RowKey, tuple[int, ...]] = {}
        """The text whose keys a row's columns hold."""
        self._texts: dict[int | str | PrefixKey, GrowingText] = {}
        """Of each request that decodes."""

    def cross(self, crossing: Crossing) -> None:
        """Judge texts from now on."""
        self._crossing = crossing
        self.proposes = False

    def row_bytes(self, num_tokens: int) -> int:
        """What a row takes for so many tokens of the base's."""
        return super().row_bytes(num_tokens if self._crossing is None else TOKENS_PER_TOKEN * num_tokens)

    @property
    def cache_tokens(self) -> int:
        """Tokens that the rows in use hold in the cache: none is pending."""
        return super().cache_tokens if self._crossing is None else sum(self._lengths)

    @torch.inference_mode()
    def run(self, pieces: Sequence[PromptChunk]) -> Tensor:
        """Read pieces of prompts; there are no hidden states to give."""
        if self._crossing is None:
            return super().run(pieces)
        pieces = self._place(pieces)
        self._num_joining = sum(piece.is_last for piece in pieces)
        if not pieces:
            return self._nothing
        rows = slice(self.num_decoding, self.num_decoding + len(pieces))
        block = piece_block(
            pieces,
            self.rows[rows],
            first_row=self.num_decoding,
            first_token=0,
            num_keys=max(self._lengths[rows]),
            device=self._device,
        )
        positions = [piece.start + index for piece in pieces for index in range(len(piece.token_ids))]
        self._select(self._adapters_of_tokens(pieces), {piece.adapter for piece in pieces})
        self._run_line([token for piece in pieces for token in piece.token_ids], positions, [block])
        for piece in pieces:
            before = self._prompts.get(piece.key, piece.prefix.token_ids if piece.prefix else ())
            self._prompts[piece.key] = self._held[piece.key] = (*before[: piece.start], *piece.token_ids)
        return self._nothing

    @torch.inference_mode()
    def columns(self, hidden: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
        """[m, K], of rows [m] and the base's candidates [m, K]: NaN where a text has outgrown the model."""
        if self._crossing is None:
            return super().columns(hidden, rows, token_ids)
        of_rows = dict(zip(rows.tolist(), token_ids.tolist(), strict=True))
        texts = self._continued({self.rows[row].key[0]: candidates for row, candidates in of_rows.items()})
        fitting = [self._tree(row, texts[self.rows[row].key[0]]) for row in range(len(of_rows))]  # all that decode
        trees = [self._in_vain(row) if tree is None else tree for row, tree in enumerate(fitting)]
        summed = self._summed(self._run_trees(trees), trees, token_ids.shape[1])
        summed[[tree is None for tree in fitting]] = nan
        return summed[rows]

    @torch.inference_mode()
    def feed(self, tokens: Tensor) -> None:
        """Append the tokens [n] of the base that were chosen to the texts of the rows of `decoding_keys`."""
        if self._crossing is None:
            super().feed(tokens)
            return
        chosen = {key[0]: token for key, token in zip(self.decoding_keys, tokens.tolist(), strict=True)}
        for request_id, token_id in chosen.items():
            text = self._texts.setdefault(request_id, GrowingText())
            text.append(self._crossing.spelling, token_id, self._crossing.retokenizer)
        has_joined, self.num_decoding = self._num_joining > 0, self.num_decoding + self._num_joining
        self._num_joining = 0
        self._tokens = self._positions = tokens  # of no use here, but as many as there are rows
        if has_joined:
            self._describe()

    @torch.inference_mode()
    def release(self, request_ids: Collection[int | str | PrefixKey], *, scrub: bool) -> None:
        """Free the rows of these requests and forget their texts."""
        super().release(request_ids, scrub=scrub)
        for of_rows in (self._prompts, self._held):
            for key in [key for key in of_rows if key[0] in request_ids]:
                del of_rows[key]
        for request_id in request_ids:
            self._texts.pop(request_id, None)

    def _continued(self, candidates: dict[int | str | PrefixKey, list[int]]) -> dict[int | str | PrefixKey, Continued]:
        """Of each request, its text with each candidate."""
        crossing = self._crossing
        assert crossing is not None  # noqa: S101 (only asked for once it is told)
        texts = {request_id: self._texts.get(request_id, GrowingText()) for request_id in candidates}
        spelt = {
            request_id: texts[request_id].candidates(crossing.spelling, token_ids)
            for request_id, token_ids in candidates.items()
        }
        distinct = [*{text: None for of_request in spelt.values() for text in of_request}]
        tokens = dict(zip(distinct, crossing.retokenizer.tokens(distinct), strict=True))
        end = () if crossing.end is None else (crossing.end,)
        return {
            request_id: texts[request_id].continued(
                [
                    tokens[text] + (end if token_id in crossing.ends else ())
                    for text, token_id in zip(spelt[request_id], token_ids, strict=True)
                ]
            )
            for request_id, token_ids in candidates.items()
        }

    def _tree(self, row: int, text: Continued) -> Tree | None:
        """What the row has to run; None where the text has outgrown the model."""
        key = self.rows[row].key
        tree = tree_of(self._prompts[key], text, self._held[key])
        return tree if tree.start + len(tree.tokens) <= self.max_length else None

    def _in_vain(self, row: int) -> Tree:
        held = self._held[self.rows[row].key]
        return Tree(len(held) - 1, held[-1:], (None,), (len(held) - 1,), (), held)

    def _run_trees(self, trees: Sequence[Tree]) -> Tensor:
        """[tokens, d], of the trees of the first rows."""
        for row, tree in enumerate(trees):
            self._held[self.rows[row].key] = tree.held[: tree.start]  # if this fails, no more is known
            self._lengths[row] = tree.start - self.rows[row].offset + len(tree.tokens)
        self._cache.reserve(self._lengths)
        first_tokens = [0, *accumulate(len(tree.tokens) for tree in trees)]
        step = max(1, -(-len(trees) // self._num_blocks))
        blocks = [
            tree_block(
                trees[start : start + step],
                self.rows[start : min(start + step, len(trees))],
                first_row=start,
                first_token=first_tokens[start],
                device=self._device,
            )
            for start in range(0, len(trees), step)
        ]
        adapters = [row.adapter for row, tree in zip(self.rows, trees, strict=False) for _ in tree.tokens]
        self._select(self._index(adapters), {*adapters})
        hidden = self._run_line(
            [token for tree in trees for token in tree.tokens],
            [position for tree in trees for position in tree.positions],
            blocks,
        )
        for row, tree in enumerate(trees):
            self._held[self.rows[row].key] = tree.held
        return hidden

    def _run_line(
        self, tokens: Sequence[int], positions: Sequence[int], blocks: Sequence[AttentionBlock]
    ) -> Tensor:
        metadata = AttentionMetadata(*written(blocks, self._device), blocks, self.windows)
        return self._forward(self._index(tokens), self._index(positions), metadata)

    def _summed(self, hidden: Tensor, trees: Sequence[Tree], num_candidates: int) -> Tensor:
        """[n, K] float64: each candidate's terms, of the hidden states [tokens, d] of all trees."""
        nodes: dict[int, int] = {}
        terms: list[tuple[int, int, int]] = []  # place in the result, of the node among those asked, token
        rows: list[int] = []
        first_token = 0
        for row, tree in enumerate(trees):
            for term in tree.terms:
                node = first_token + term.node
                if node not in nodes:
                    nodes[node] = len(nodes)
                    rows.append(row)
                terms.append((row * num_candidates + term.candidate, nodes[node], term.token_id))
            first_token += len(tree.tokens)
        total = torch.zeros(len(trees) * num_candidates, dtype=torch.float64, device=self._device)
        if terms:
            places, asked, token_ids = self._index(terms).T
            total.index_add_(0, places, self._log_probabilities(hidden[self._index([*nodes])], rows, asked, token_ids))
        return total.view(len(trees), num_candidates)

    def _log_probabilities(self, hidden: Tensor, rows: Sequence[int], asked: Tensor, token_ids: Tensor) -> Tensor:
        """[terms] float64, of tokens [terms] behind the hidden states [nodes, d] that `asked` [terms] names."""
        at_once = max(1, LOGITS_AT_ONCE // self.head.vocab_size)
        found = torch.empty(len(asked), dtype=torch.float64, device=self._device)
        for start in range(0, len(hidden), at_once):
            part = slice(start, start + at_once)
            logits = self.head.logits(hidden[part], self._adapters_at_head(self._index(rows[part]))).float()
            here = ((asked >= start) & (asked < start + at_once)).nonzero()[:, 0]
            of_nodes = asked[here] - start
            norms = logits.logsumexp(1).double()
            found[here] = logits[of_nodes, token_ids[here]].double() - norms[of_nodes]
        return found
