"""The forward passes of one set of shared weights, and the rows of its cache.

A row is one stream of one request. Each `run` is one forward: the pending token of every row that decodes, and pieces
of the prompts that are being read. Rows are kept compact, those that decode in front, so a step costs what the rows in
use cost. Knows tensors and row keys; does not know coefficients, requests or when anything ends.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import groupby

import torch
from torch import Tensor

from worker.engine.batch_layout import Line, cascade_groups, ends, parts_of, piece_block, stretches, written
from worker.engine.cache.memory import free_bytes
from worker.engine.cache.prefixes import PrefixKey, TicketId
from worker.engine.forwards import LineForward
from worker.engine.layers.attention import AttentionBlock, AttentionMetadata, CascadeGroup, SharedPrefix
from worker.engine.layers.graphs import DecodeGraphs, WaitsForDeviceError, rows_of_graph
from worker.engine.layers.head import VocabularyHead
from worker.engine.parallel.group import ALONE, Group, everywhere
from worker.engine.rows import PromptChunk, Row, RowKey, RowTable

NUM_BLOCKS_ON_CPU = 4
"""Parts in which the rows attend on a CPU, each over as many columns as its longest row has."""
READ_IN_PLACE_FROM = 256
"""Prefix tokens from which rows read a shared prefix where it lies; a shorter one is copied into each row."""


class Runner:
    """Runs rows and keeps their cache.

    `run` gives the last hidden state of every row that decodes, `feed` takes the tokens that were chosen. Until `feed`,
    running again repeats the step.
    """

    proposes = True
    """Whether its tokens are the base's: only then it can have base streams."""

    def __init__(self, decoder: LineForward, head: VocabularyHead) -> None:
        self.decoder, self.head = decoder, head
        self.max_length = decoder.max_length
        self.is_recurrent = decoder.is_recurrent
        self.group: Group = ALONE
        self.number = 0
        self.reads_in_place: bool | None = None
        """Whether rows read shared prefixes where they lie: False where they cannot, None where the length decides."""
        self.windows: set[int | None] = set()
        """The sliding windows of the layers, as far as forwards have shown."""
        self.outgrown: set[TicketId] = set()
        """Requests whose texts have become longer than this model can read."""
        self._cache, self._device = decoder.cache, decoder.device
        # Of each row that decodes: the pending token, which is not in the cache yet, its position, the row's adapter.
        self._tokens = self._index([])
        self._positions = self._index([])
        self._adapter_of_row = self._index([])
        self._offsets = self._index([])
        self._nothing = torch.empty(0, decoder.hidden_size, device=self._device)
        self._readers: list[tuple[slice, list[CascadeGroup]]] = []  # of each block of rows that decode
        is_padded = decoder.needs_equal_starts
        can_replay = self._device.type == "cuda" and not self.is_recurrent and not is_padded
        self._graphs = DecodeGraphs(self._forward_decoding, self._device) if can_replay else None
        self.num_blocks = NUM_BLOCKS_ON_CPU if self._device.type == "cpu" and not is_padded else 1
        self.table = RowTable(self.num_blocks, needs_equal_lengths=decoder.needs_equal_lengths)

    def join(self, group: Group, number: int) -> None:
        """Run shares of a model, in step with the runners of this number on the other devices."""
        self.group, self.number = group, number
        self._graphs = None  # a recording would hide from the group which sums were made

    @property
    def bytes_per_row(self) -> int:
        """Bytes that a row takes whatever its length: its recurrent state."""
        return self._cache.states.bytes_per_row

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token of a row takes in the cache; known once the runner has run."""
        return self._cache.bytes_per_column

    def row_bytes(self, num_tokens: int, max_tokens: int = 0) -> int:
        """What a row of so many tokens takes, and an answer of up to `max_tokens`; known once the runner has run."""
        return min(num_tokens + max_tokens, self.max_length) * self.bytes_per_token + self.bytes_per_row

    @property
    def cache_tokens(self) -> int:
        """Tokens that the rows in use hold in the cache."""
        return sum(self.table.lengths) - self.table.num_decoding  # their pending tokens are not in it yet

    @property
    def cache_bytes_used(self) -> int:
        """Bytes that these tokens take, and the states of their rows."""
        return self.cache_tokens * self.bytes_per_token + len(self.table) * self.bytes_per_row

    @property
    def cache_bytes_reserved(self) -> int:
        """Bytes of memory that the cache has, whether they hold tokens or not."""
        return self._cache.bytes_reserved

    @everywhere
    def run(self, pieces: Sequence[PromptChunk]) -> Tensor:
        """Hidden states [n, d] of the rows that decode, those whose last piece this is behind the others."""
        self.group.begin(len(self._tokens) + sum(len(piece.token_ids) for piece in pieces))
        num_decoding = self.table.num_decoding
        pieces = self._place(pieces)
        if not len(self.table):
            return self._nothing
        if not pieces and self._graphs is not None and not any(readers for _, readers in self._readers):
            try:
                return self._replay(self._graphs)
            except WaitsForDeviceError:
                self._graphs = None
        self._stretch(num_decoding, pieces, num_decoding)
        pending = Line(
            self._tokens, self._positions, self._adapter_of_row, {row.adapter for row in self.table.decoding}
        )
        blocks = [*self._decoding_blocks(), *self._piece_blocks(pieces, num_decoding)]
        hidden = self._forward(pending.then(Line.of(pieces, self._device)), blocks)
        if not pieces:
            return hidden
        return torch.cat([hidden[:num_decoding], hidden[self._index(ends(pieces, num_decoding))]])

    @property
    def decoding_keys(self) -> list[RowKey]:
        """The keys of the rows whose hidden states `run` gave, in their order."""
        return self.table.keys

    @everywhere
    def feed(self, tokens: Tensor) -> None:
        """Append the tokens [n] that were chosen to the rows of `decoding_keys`; the next run decodes them."""
        joined = self.table.join()
        self._tokens = tokens
        # Whoever has reached the end runs once more before the host has noticed, in vain and in place.
        self._positions = (self._positions + 1).clamp(max=self.max_length - 1)
        if joined:
            starts = [self.table.rows[index].offset + self.table.lengths[index] for index in joined]
            self._positions = torch.cat([self._positions, self._index(starts)])
            self._describe()
        self.table.lengthen(self.max_length)

    def read(
        self, texts: Sequence[PromptChunk], num_tokens: int, on_forward: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Hidden states [tokens, d] of whole texts, one behind the other, read in one forward.

        A single text longer than `num_tokens` is read in parts. `on_forward` is called after each forward. Nothing is
        kept, nobody else is touched.
        """
        self.make_place([len(text.token_ids) for text in texts])
        hidden = []
        for pieces in [texts] if len(texts) > 1 else [[part] for part in parts_of(texts[0], num_tokens)]:
            hidden.append(self.read_beside(pieces))
            on_forward()
        self.clear_place(len(texts))
        return torch.cat(hidden)

    @everywhere
    def make_place(self, lengths: Sequence[int]) -> None:
        """Make room for texts of so many tokens behind the rows in use."""
        self._cache.reserve([*self.table.lengths, *lengths])

    @everywhere
    def clear_place(self, num_texts: int) -> None:
        """Forget so many texts that were read there."""
        first_row = len(self.table)
        self._cache.scrub(self._index(range(first_row, first_row + num_texts)))
        self._cache.trim(self.table.lengths)

    @everywhere
    def read_beside(self, pieces: Sequence[PromptChunk]) -> Tensor:
        """One forward of `read`, over texts or the next part of one."""
        self.group.begin(sum(len(piece.token_ids) for piece in pieces))
        first_row = len(self.table)
        block = piece_block(
            pieces,
            [Row(piece.key, piece.adapter, prefix=None) for piece in pieces],
            first_row=first_row,
            first_token=0,
            num_keys=max(piece.start + len(piece.token_ids) for piece in pieces),
            device=self._device,
        )
        self._stretch(0, pieces, first_row)
        return self._forward(Line.of(pieces, self._device), [block])

    @torch.inference_mode()
    def logits_of_text(self, hidden: Tensor, adapter: int) -> Tensor:
        """Logits [n, V] of hidden states [n, d] that `read` gave of a text."""
        return self._logits_at(hidden, [adapter] * len(hidden))

    @everywhere
    def take_prefix(self, key: PrefixKey) -> SharedPrefix:
        """What its row holds of a prefix, for others to share; the row is free again."""
        row = next(index for index, row in enumerate(self.table.rows) if row.key == (key, 0))
        prefix = self._cache.read(row, key.token_ids, key.weights.adapter)
        self._release({key}, scrub=True)
        return prefix

    @everywhere
    def release(self, request_ids: Collection[TicketId], *, scrub: bool) -> None:
        """Free the rows of these requests, others take their places; `scrub` where the rows may hold NaN."""
        self._release(request_ids, scrub=scrub)

    def _release(self, request_ids: Collection[TicketId], *, scrub: bool) -> None:
        departure = self.table.without(request_ids)
        if departure is None:
            return
        if scrub:
            self._cache.scrub(self._index(departure.freed))
        if departure.moves:
            self._cache.move(departure.moves, unproved=departure.half_read)
        self.table.apply(departure)
        decoding = self._index(departure.order[: departure.num_decoding])
        self._tokens, self._positions = self._tokens[decoding], self._positions[decoding]
        self._describe()
        if not len(self.table):
            self._cache.trim(())

    @everywhere
    def shrink(self) -> None:
        """Give back the memory of rows that are not in use, and what torch keeps of it for later."""
        self._cache.shrink(self.table.lengths)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits [m, V] of some of the rows that decode, of all their hidden states [n, d]."""
        return self.head.logits(hidden[rows], self._adapters_at_head(rows))

    @torch.inference_mode()
    def columns(self, hidden: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
        """Logits [m, K] of the rows [m] for their candidates [m, K] alone."""
        return self.head.columns(hidden[rows], token_ids, self._adapters_at_head(rows))

    def _index(self, values: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)

    def _place(self, pieces: Sequence[PromptChunk]) -> list[PromptChunk]:
        """Give every new stream a row, with its shared prefix in it or beside it; the pieces in row order."""
        first_new = len(self.table)
        pieces = self.table.place(pieces, self.is_read_in_place, by_length=self.is_recurrent)
        self._cache.reserve(self.table.lengths)
        for index, piece in enumerate(pieces[first_new - self.table.num_decoding :], start=first_new):
            if piece.prefix is not None:
                self._cache.states.write(index, piece.prefix.states)
                if self.table.rows[index].prefix is None:
                    self._cache.write(index, piece.prefix)
        return pieces

    @everywhere
    def read_in_place(self, reads: bool | None) -> None:  # noqa: FBT001 (what it is asked to be)
        """Set `reads_in_place`."""
        self.reads_in_place = reads

    @everywhere
    def free_bytes(self) -> int:
        """Memory that nobody uses, of the device that has the least of it."""
        return self.group.least(free_bytes(self._device))

    def is_read_in_place(self, prefix: SharedPrefix) -> bool:
        """Whether rows leave this prefix where it is, and do not copy it."""
        return len(prefix) >= READ_IN_PLACE_FROM if self.reads_in_place is None else self.reads_in_place

    def _describe(self) -> None:
        """What the device must know of the rows that decode, after one has joined or left."""
        rows = self.table.decoding
        self._adapter_of_row = self._index([row.adapter for row in rows])
        self._offsets = self._index([row.offset for row in rows])
        self._readers = [(block, cascade_groups(rows[block], self._device)) for block in self.table.blocks]

    def _decoding_blocks(self) -> list[AttentionBlock]:
        columns, positions = (self._positions - self._offsets)[:, None], self._positions[:, None]
        return [
            AttentionBlock(rows.start, columns[rows], positions[rows], max(self.table.lengths[rows]), readers=readers)
            for rows, readers in self._readers
        ]

    def _piece_blocks(self, pieces: Sequence[PromptChunk], first_token: int) -> list[AttentionBlock]:
        """How pieces in the rows behind those that decode attend: all together, or those of one first column."""
        blocks, first_row = [], self.table.num_decoding
        for _, together in groupby(pieces, key=lambda piece: self.decoder.needs_equal_starts and piece.start):
            part = [*together]
            rows = slice(first_row, first_row + len(part))
            blocks.append(
                piece_block(
                    part,
                    self.table.rows[rows],
                    first_row=first_row,
                    first_token=first_token,
                    num_keys=max(self.table.lengths[rows]),
                    device=self._device,
                )
            )
            first_row, first_token = rows.stop, first_token + sum(len(piece.token_ids) for piece in part)
        return blocks

    def go_on_by_token(self) -> None:
        """From now on, rows that hold a state take one token at a time: recurrent layers begin anew with several."""
        self._cache.states.goes_on_by_token = True

    def _stretch(self, num_decoding: int, pieces: Sequence[PromptChunk], first_row: int) -> None:
        if self.is_recurrent:
            self._cache.states.stretches = stretches(num_decoding, pieces, first_row)

    def _select(self, adapters: Tensor, used: Collection[int]) -> None:
        if self.decoder.adapters is not None:
            self.decoder.adapters.select(adapters, used)

    def _adapters_at_head(self, rows: Tensor) -> Tensor | None:
        """The adapters of these rows [m]; None where the head treats all rows alike."""
        if not self.head.tells_rows_apart:
            return None
        adapters = self._index([row.adapter for row in self.table.rows])[rows]
        self._select(adapters, {row.adapter for row in self.table.rows})
        return adapters

    def _told_apart(self, adapters: Sequence[int]) -> Tensor | None:
        """The same for hidden states of texts with these adapters [n]."""
        if not self.head.tells_rows_apart:
            return None
        numbers = self._index(adapters)
        self._select(numbers, {*adapters})
        return numbers

    def _logits_at(self, hidden: Tensor, adapters: Sequence[int]) -> Tensor:
        """[n, V] of hidden states [n, d] of texts with these adapters [n]."""
        return self.head.logits(hidden, self._told_apart(adapters))

    def _replay(self, graphs: DecodeGraphs) -> Tensor:
        """The forward of rows that decode, as a recording."""
        num_idle = rows_of_graph(len(self.table)) - len(self.table)
        self._cache.reserve([*self.table.lengths, *[1] * num_idle])
        if self._cache.has_moved:
            graphs.forget()
            self._cache.has_moved = False
        any_adapted = any(row.adapter for row in self.table.rows)
        return graphs.run(self._tokens, self._positions, self._adapter_of_row, any_adapted=any_adapted)

    def _forward_decoding(self, tokens: Tensor, positions: Tensor, adapters: Tensor) -> Tensor:
        """The same as `run` without pieces, of tensors alone."""
        columns = positions[:, None]
        block = AttentionBlock(0, columns, columns, self._cache.capacity)
        return self._forward(Line(tokens, positions, adapters, {0, *(row.adapter for row in self.table.rows)}), [block])

    def _forward(self, line: Line, blocks: Sequence[AttentionBlock]) -> Tensor:
        """Last hidden states [tokens, d] of a line, which these blocks tell apart."""
        self._select(line.adapters, line.used)
        rows, columns = written(blocks, self._device)
        metadata = AttentionMetadata(rows, columns, blocks, self.windows, line.branches)
        return self.decoder.run(line.tokens, line.positions, metadata)
