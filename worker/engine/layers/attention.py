"""Attention over the row cache: what transformers' models call in place of their own.

The tokens of one forward lie in one line: first one token of every decoding row, then the pieces of prompts that are
being read. Every other layer treats tokens alike; this function alone knows which rows they belong to. It is exact for
grouped heads, sliding windows, soft-capped scores, attention sinks and prefixes that rows share.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import inf

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn
from transformers import AttentionInterface

from worker.engine.errors import OTHER_ARCHITECTURE
from worker.engine.layers.native import Branches, Kernels, Places, kernels_on

HAS_KERNEL = find_spec("triton") is not None
"""Triton comes with the builds of torch that know a GPU; without it, torch's own attention has to do."""

if HAS_KERNEL:
    from worker.engine.layers.decode_kernel import SMALLEST_SIDE, attend_to_own_columns, columns_per_step

NAME = "padserve_rows"
LONGEST_PROMPT_BY_TOKENS = 1024
"""Columns of a prompt up to which a processor's kernel reads it, one query at a time; longer ones go by blocks."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SharedPrefix:
    """Keys and values of tokens that several rows begin with."""

    adapter: int
    token_ids: tuple[int, ...]
    keys: Mapping[int, Tensor]
    """Keys of each layer [heads, tokens, head size]; values likewise."""
    values: Mapping[int, Tensor]
    states: Mapping[tuple[int, int, bool], Tensor] = field(default_factory=dict)
    """States of recurrent layers behind the last token."""

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class CascadeGroup:
    """The rows of a block that read a shared prefix in place."""

    prefix: SharedPrefix
    rows: Tensor
    """Indices [a] of the rows, counted within the block."""


@dataclass(slots=True)
class AttentionBlock:
    """n neighbouring rows of the cache and the T tokens that each has in this forward, padded on the right."""

    first_row: int
    columns: Tensor
    """[n, T], the place of each token in its own row of the cache."""
    positions: Tensor
    """[n, T], its place in the text: the column, behind what the row reads of a shared prefix."""
    num_keys: int
    """Columns that attention reads: one more than the largest of `columns`."""
    tokens: Tensor | None = None
    """[n, T], which tokens of the line these are; None: those with the numbers of the rows, one each."""
    places: Tensor | None = None
    """[tokens of this block], where they are among the n * T; None: all of them, in order."""
    readers: Sequence[CascadeGroup] = ()
    starts_rows: bool = False
    """Whether each row's tokens begin at column 0, so that causal attention among themselves is all there is."""
    _visible: dict[int | None, Tensor] = field(default_factory=dict)

    @property
    def is_decoding(self) -> bool:
        """Whether each row has one token, the newest."""
        return self.tokens is None

    @property
    def longest_of_own(self) -> float:
        """Columns up to which a processor's own kernel, one query at a time, is as good as blocks of queries."""
        return inf if self.is_decoding else LONGEST_PROMPT_BY_TOKENS

    @property
    def is_for_own_kernels(self) -> bool:
        """Whether a processor's kernels attend as it needs: without shared prefixes or prompts that are long."""
        return not self.readers and self.num_keys <= self.longest_of_own

    @property
    def in_line(self) -> slice:
        """Where in the line its tokens are, one behind the other."""
        if self.tokens is None or self.places is None:
            return self.rows
        first = int(self.tokens[0, 0])
        return slice(first, first + len(self.places))

    @property
    def rows(self) -> slice:
        """The rows of the cache that this block reads and writes."""
        return slice(self.first_row, self.first_row + len(self.columns))

    def take(self, line: Tensor) -> Tensor:
        """[tokens of the line, heads, size] -> [n, T, heads, size]."""
        return line[self.rows, None] if self.tokens is None else line[self.tokens]

    def put(self, block: Tensor) -> Tensor:
        """[n, T, heads, size] -> [tokens of this block, heads, size]."""
        flat = block.flatten(0, 1)
        return flat if self.places is None else flat[self.places]

    def visible(self, window: int | None) -> Tensor:
        """[n, 1, T, keys], which columns a token sees; made once for all layers with the same window."""
        if window not in self._visible:
            columns = self.columns[:, None, :, None]
            keys = torch.arange(self.num_keys, device=columns.device)
            visible = keys <= columns
            self._visible[window] = visible if window is None else visible & (keys > columns - window)
        return self._visible[window]


@dataclass(frozen=True, slots=True)
class AttentionMetadata:
    """What one forward reads and writes, for all layers alike."""

    rows: Tensor
    """[tokens], the cache row of each token."""
    columns: Tensor
    """[tokens], where in that row it goes."""
    blocks: Sequence[AttentionBlock]
    windows: set[int | None] = field(default_factory=set)
    """The sliding windows that layers asked for; filled by the forward."""
    branches: Branches | None = None
    """What tokens see where texts branch, for a processor's kernels; None where each sees its row up to itself."""

    @property
    def places(self) -> Places:
        """What a processor's kernels need to know."""
        return Places(self.rows, self.columns, self.branches)

    @property
    def is_for_own_kernels(self) -> bool:
        """Whether a processor's kernels attend as all blocks need."""
        return all(block.is_for_own_kernels for block in self.blocks)


CURRENT_METADATA: ContextVar[AttentionMetadata] = ContextVar("attention metadata")
"""Of the forward that runs: some models do not hand on what their forward is given."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a layer turns products of queries and keys into scores."""

    scale: float
    window: int | None
    """A token sees so many columns, its own included."""
    softcap: float | None
    sinks: Tensor | None = None
    """[heads], a score that each query of a head has beside those of keys: its weight goes to no value."""

    def scaled(self, products: Tensor) -> Tensor:
        """Products of queries and keys as scores, float32: scaled, and capped where the model does."""
        scores = products.float() * self.scale
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


def attend_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - transformers' signature; the pass says what a token sees
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_others: object,
) -> tuple[Tensor, None]:
    """Query [1, heads, tokens, size]; key and value [rows, key heads, capacity, size] -> [1, tokens, heads, size]."""
    if position_bias is not None:
        message = "its attention adds a bias that counts the tokens of all texts as one text's"
        raise NotImplementedError(f"{message}: {OTHER_ARCHITECTURE}")
    metadata = CURRENT_METADATA.get()
    metadata.windows.add(sliding_window)
    scoring = Scoring(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap, s_aux)
    line = query[0].transpose(0, 1)
    needs_scores = softcap is not None or s_aux is not None
    own = None if needs_scores else _own_kernels(line, key, value)
    if own is not None and metadata.is_for_own_kernels:
        attended = own.attend(line, key, value, metadata.places, scale=scoring.scale, window=sliding_window)
        return attended[None], None
    parts = []
    for block in metadata.blocks:
        if own is not None and block.is_for_own_kernels:
            part = block.in_line
            places = metadata.places.of(part)
            parts.append(own.attend(line[part], key, value, places, scale=scoring.scale, window=sliding_window))
            continue
        queries = block.take(line)
        keys, values = key[block.rows, :, : block.num_keys], value[block.rows, :, : block.num_keys]
        if block.is_decoding and not block.readers and s_aux is None and has_decode_kernel(keys, values):
            attended = attend_to_own_columns(queries[:, 0], keys, values, block.columns[:, 0], scoring)[:, None]
        elif block.readers or needs_scores:
            layer = int(module.layer_idx)  # type: ignore[arg-type]  # as the cache is told
            attended = _attend_explicitly(queries, keys, values, block, layer=layer, scoring=scoring)
        else:
            attended = _attend(queries, keys, values, block, scoring=scoring)
        parts.append(block.put(attended))
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None], None


AttentionInterface.register(NAME, attend_rows)


def has_decode_kernel(keys: Tensor, values: Tensor) -> bool:
    """Whether a kernel of a GPU's reads these, each row no further than it has columns."""
    return HAS_KERNEL and keys.is_cuda and columns_per_step(keys, values) >= SMALLEST_SIDE


def _own_kernels(line: Tensor, key: Tensor, value: Tensor) -> Kernels | None:
    own = kernels_on(line.dtype, line.device)
    return own if own is not None and own.attends(line, key, value) else None


def _attend(queries: Tensor, keys: Tensor, values: Tensor, block: AttentionBlock, *, scoring: Scoring) -> Tensor:
    """[n, T, heads, size] of queries over [n, key heads, keys, size] -> [n, T, heads, size]."""
    num_heads, num_tokens = queries.shape[2], queries.shape[1]
    window = scoring.window
    if block.starts_rows and num_tokens == block.num_keys and (window is None or num_tokens <= window):
        grouped = num_heads != keys.shape[1]
        attended = F.scaled_dot_product_attention(
            queries.transpose(1, 2), keys, values, is_causal=True, scale=scoring.scale, enable_gqa=grouped
        )
        return attended.transpose(1, 2)
    mask = block.visible(window)
    if num_tokens > 1:
        mask = mask.repeat(1, 1, num_heads // keys.shape[1], 1)
    attended = F.scaled_dot_product_attention(
        _by_key_head(queries, keys.shape[1]), keys, values, attn_mask=mask, scale=scoring.scale
    )
    return _by_token(attended, num_tokens)


def _attend_explicitly(
    queries: Tensor, keys: Tensor, values: Tensor, block: AttentionBlock, *, layer: int, scoring: Scoring
) -> Tensor:
    """With the scores in hand: softmax over a shared prefix, the row's own keys and a sink; capped if asked."""
    num_tokens = queries.shape[1]
    grouped = _by_key_head(queries, keys.shape[1])  # [n, key heads, Q, size]
    repeats = grouped.shape[2] // num_tokens
    window = scoring.window
    own = scoring.scaled(grouped @ keys.transpose(2, 3))
    own = own.masked_fill(~block.visible(window).repeat(1, 1, repeats, 1), -torch.inf)
    longest = max((len(readers.prefix) for readers in block.readers), default=0)
    shared = own.new_full((*own.shape[:3], longest), -torch.inf)
    for readers in block.readers:
        scores = scoring.scaled(_over_prefix(grouped[readers.rows], readers.prefix.keys[layer].transpose(1, 2)))
        if window is not None:
            seen = torch.arange(len(readers.prefix), device=scores.device)
            last_hidden = block.positions[readers.rows].repeat(1, repeats)[:, None, :, None] - window
            scores = scores.masked_fill(seen <= last_hidden, -torch.inf)
        shared[readers.rows, :, :, : len(readers.prefix)] = scores
    sink = _sink(scoring.sinks, own, num_tokens)
    weights = torch.cat([shared, own, sink], dim=-1).softmax(-1).to(values.dtype)
    attended = weights[..., longest : longest + own.shape[-1]] @ values
    for readers in block.readers:
        of_prefix = weights[readers.rows, :, :, : len(readers.prefix)]
        attended[readers.rows] += _over_prefix(of_prefix, readers.prefix.values[layer])
    return _by_token(attended, num_tokens)


def _sink(sinks: Tensor | None, scores: Tensor, num_tokens: int) -> Tensor:
    """[n, key heads, Q, 1] of sinks [heads], or no column where there are none."""
    if sinks is None:
        return scores[..., :0]
    num_rows, num_key_heads, _, _ = scores.shape
    of_queries = sinks.to(scores).view(num_key_heads, -1, 1).expand(-1, -1, num_tokens).flatten(1)
    return of_queries[None, :, :, None].expand(num_rows, -1, -1, 1)


def _over_prefix(rows: Tensor, shared: Tensor) -> Tensor:
    """[a, heads, Q, x] @ [heads, x, y] -> [a, heads, Q, y], as one product per head: the prefix is read once."""
    num_rows, num_heads, num_queries, _ = rows.shape
    product = rows.transpose(0, 1).reshape(num_heads, num_rows * num_queries, -1) @ shared
    return product.view(num_heads, num_rows, num_queries, -1).transpose(0, 1)


def _by_key_head(queries: Tensor, num_key_heads: int) -> Tensor:
    """[n, T, heads, size] -> [n, key heads, heads per key head * T, size]: keys are read as they lie, not repeated."""
    num_rows, num_tokens, num_heads, size = queries.shape
    grouped = queries.view(num_rows, num_tokens, num_key_heads, num_heads // num_key_heads, size)
    return grouped.permute(0, 2, 3, 1, 4).reshape(num_rows, num_key_heads, -1, size)


def _by_token(attended: Tensor, num_tokens: int) -> Tensor:
    """[n, key heads, heads per key head * T, size] -> [n, T, heads, size], undoing `_by_key_head`."""
    num_rows, num_key_heads, _, size = attended.shape
    grouped = attended.view(num_rows, num_key_heads, -1, num_tokens, size)
    return grouped.permute(0, 3, 1, 2, 4).reshape(num_rows, num_tokens, -1, size)
