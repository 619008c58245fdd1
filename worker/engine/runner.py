"""The forward passes of one set of shared weights, and the rows of its cache.

A row is one stream of one request. Rows are kept compact, so a step costs what the rows in use cost. Knows tensors and
row keys; does not know coefficients, requests or when anything ends.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from worker.engine.cache import Decode, Prefill, RowCache
from worker.engine.lora import AdapterRows

RowKey: TypeAlias = tuple[int | str, int]
"""Request id and index of the stream."""


@dataclass(frozen=True, slots=True)
class NewRow:
    """A stream whose prompt is to be run."""

    key: RowKey
    prompt: tuple[int, ...]
    adapter: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row in use, as the host sees it."""

    key: RowKey
    adapter: int
    length: int
    """Tokens of the row, the pending one included."""


class Runner:
    """Runs rows and keeps their cache.

    `run` gives the logits of every row's next token, `feed` takes the tokens that were chosen. Until `feed`, running
    again repeats the step: a step that failed half-way leaves nothing behind.
    """

    def __init__(self, model: PreTrainedModel, adapters: AdapterRows | None, max_length: int) -> None:
        self._model = model
        self._adapters = adapters
        self._device = model.device
        self._cache = RowCache(model.config.get_text_config().num_hidden_layers, max_length)
        self._additive_mask = model.config._attn_implementation == "eager"  # noqa: SLF001 (no public name)
        head = vocabulary_head(model)
        self._last = _LastPosition(head)
        self._no_logits = torch.empty(0, head.weight.shape[0], dtype=model.dtype, device=self._device)
        self.rows: list[Row] = []
        # [n] each: the newest token of every row, which is not in the cache yet, and the position where it goes.
        self._tokens = torch.empty(0, dtype=torch.long, device=self._device)
        self._positions = torch.empty(0, dtype=torch.long, device=self._device)

    @torch.inference_mode()
    def run(self, new: Sequence[NewRow]) -> Tensor:
        """Logits [n + len(new), V] of every row's next token: the pending tokens decoded, the new prompts prefilled."""
        logits = [self._decode()] if self.rows else [self._no_logits]
        if new:
            logits.append(self._prefill(new))
            self._append(new)
        return logits[-1] if logits[0].shape[0] == 0 else torch.cat(logits)

    @torch.inference_mode()
    def feed(self, tokens: Tensor) -> None:
        """Append to each row its chosen token [n]; the next run decodes it."""
        self._tokens = tokens
        self._positions = self._positions + 1
        self.rows = [Row(row.key, row.adapter, row.length + 1) for row in self.rows]

    @torch.inference_mode()
    def release(self, request_ids: Collection[int | str]) -> None:
        """Free the rows of these requests; rows from the end take their places."""
        kept = [index for index, row in enumerate(self.rows) if row.key[0] not in request_ids]
        if len(kept) == len(self.rows):
            return
        targets = sorted(set(range(len(kept))) - set(kept))
        sources = kept[len(kept) - len(targets) :]
        order = list(range(len(kept)))
        for source, target in zip(sources, targets, strict=True):
            order[target] = source
        if targets:
            self._cache.move(self._index(sources), self._index(targets))
        self.rows = [self.rows[index] for index in order]
        self._tokens = self._tokens[self._index(order)]
        self._positions = self._positions[self._index(order)]

    @torch.inference_mode()
    def shrink(self) -> None:
        """Give back the memory of rows that are not in use."""
        self._cache.shrink(len(self.rows))

    def _index(self, values: Sequence[int] | Sequence[list[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)

    def _append(self, new: Sequence[NewRow]) -> None:
        # `feed` puts the first chosen token behind the prompt.
        self.rows = [*self.rows, *(Row(row.key, row.adapter, len(row.prompt)) for row in new)]
        last = self._index([len(row.prompt) - 1 for row in new])
        self._positions = torch.cat([self._positions, last])
        self._tokens = torch.cat([self._tokens, self._index([row.prompt[-1] for row in new])])

    def _decode(self) -> Tensor:
        """Run each row's pending token against its own cached positions."""
        num_keys = max(row.length for row in self.rows)
        self._cache.reserve(len(self.rows), num_keys)
        rows, keys = (torch.arange(count, device=self._device) for count in (len(self.rows), num_keys))
        self._cache.expect(Decode(rows, self._positions, num_keys))
        visible = keys <= self._positions[:, None]  # [n, keys]
        self._select_adapters([row.adapter for row in self.rows])
        return self._forward(self._tokens[:, None], self._positions[:, None], visible[:, None, None, :])

    def _prefill(self, new: Sequence[NewRow]) -> Tensor:
        """Run whole prompts, right-padded: what follows a token never reaches it, so padding needs no mask."""
        length = max(len(row.prompt) for row in new)
        self._cache.reserve(len(self.rows) + len(new), length)
        self._cache.expect(Prefill(first_row=len(self.rows)))
        # Padded with a token of its own, a row can meet no foreign token whose embedding is broken.
        tokens = self._index([[*row.prompt, *[row.prompt[0]] * (length - len(row.prompt))] for row in new])
        positions = torch.arange(length, device=self._device)
        visible = positions <= positions[:, None]  # [queries, keys]
        self._select_adapters([row.adapter for row in new])
        last = self._index([len(row.prompt) - 1 for row in new])
        with self._last.at(last):
            return self._forward(tokens, positions.expand(len(new), -1), visible.expand(len(new), 1, -1, -1))

    def _select_adapters(self, adapter_of_row: list[int]) -> None:
        if self._adapters is not None:
            self._adapters.select(adapter_of_row, self._device)

    def _forward(self, tokens: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """Logits [n, V] behind the last token of each row; tokens and positions [n, T], visible [n, 1, T, keys]."""
        if self._additive_mask:
            dtype = self._model.dtype
            hidden = torch.full_like(visible, torch.finfo(dtype).min, dtype=dtype)
            visible = hidden.masked_fill(visible, 0)
        output = self._model(
            input_ids=tokens,
            attention_mask=visible,  # four dimensions: transformers takes it as it is
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = output.logits[:, -1]
        return logits


def vocabulary_head(model: PreTrainedModel) -> nn.Linear:
    """The layer that makes logits of hidden states."""
    head: nn.Linear = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    return head


class _LastPosition:
    """Lets the vocabulary head see each row's last token only, wherever it lies in a padded batch."""

    def __init__(self, head: nn.Module) -> None:
        self._positions: Tensor | None = None
        head.register_forward_pre_hook(self._gather)

    @contextmanager
    def at(self, positions: Tensor) -> Iterator[None]:
        """Until the block ends, the head sees only these positions [n]."""
        self._positions = positions
        try:
            yield
        finally:
            self._positions = None

    def _gather(self, _head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._positions is None:
            return None
        hidden = inputs[0]  # [n, T, hidden size]
        index = self._positions[:, None, None].expand(-1, 1, hidden.shape[-1])
        return (hidden.gather(1, index), *inputs[1:])
