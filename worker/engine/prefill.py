"""Prompts on their way into the cache: what each stream still has to read, and behind which shared prefix."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.engine.cache.memory import Need
from worker.engine.cache.prefixes import Prefixes, PrefixKey, TicketId
from worker.engine.layers.attention import SharedPrefix
from worker.engine.rows import PromptChunk
from worker.engine.scheduler import PrefillChunk, Ticket
from worker.engine.streams import GuidedStream

MAX_PREFIX_TOKENS = 8192
"""Most tokens of all prefixes together that are kept for prompts to come."""


class RowCosts(Protocol):
    """What a runner says of the cache that rows take."""

    def row_bytes(self, num_tokens: int, max_tokens: int = 0) -> int:
        """Bytes of the cache that a row takes of so many tokens, and an answer of `max_tokens` of the base's."""

    def is_read_in_place(self, prefix: SharedPrefix) -> bool:
        """Whether rows leave this prefix where it is, and do not copy it."""


@dataclass(slots=True)
class _Prompt:
    """The prompt of one stream, and the shared prefix that it need not read again."""

    stream: GuidedStream
    prefix: SharedPrefix | None = None

    @property
    def num_unread(self) -> int:
        return len(self.stream.prompt) - self.start

    @property
    def start(self) -> int:
        return len(self.prefix) if self.prefix else 0


@dataclass(slots=True)
class _Request:
    prompts: tuple[_Prompt, ...]
    max_tokens: int
    is_waiting: bool = True
    asked: set[PrefixKey] = field(default_factory=set)
    """Prefixes that were read for it; none is asked for twice, however few can be kept."""

    @property
    def num_tokens(self) -> int:
        return max(prompt.num_unread for prompt in self.prompts)


class PrefillQueue:
    """The prompts of all requests that are not decoding yet, as the scheduler asks about them."""

    def __init__(self, runners: Sequence[RowCosts]) -> None:
        self._runners = runners
        self._requests: dict[int | str, _Request] = {}
        self._prefixes = Prefixes(MAX_PREFIX_TOKENS)
        self.total_tokens_read = 0
        """Tokens of prompts and shared prefixes that were run since the beginning; what is read again counts again."""
        self.total_tokens_reused = 0
        """Tokens of prompts that were not run, because a shared prefix held them."""

    def add(self, request_id: int | str, streams: Sequence[GuidedStream], max_tokens: int) -> None:
        """A request waits; its completion has up to `max_tokens`."""
        self._requests[request_id] = _Request(tuple(_Prompt(stream) for stream in streams), max_tokens)
        for stream in streams:
            self._prefixes.add(stream.weights, stream.prompt)

    def remove(self, request_ids: Collection[int | str]) -> None:
        """Forget the prompts of these requests: they decode from now on, or never will. Unknown ids are no error."""
        for request_id in request_ids:
            request = self._requests.pop(request_id, None)
            if request is not None and request.is_waiting:
                self._stop_waiting(request)

    def missing_prefix(self, request_id: TicketId) -> Ticket | None:
        """A prefix that this waiting request shares with others and that nobody has read."""
        if isinstance(request_id, PrefixKey):
            return None
        request = self._requests[request_id]
        for prompt in request.prompts:
            key = self._prefixes.missing(prompt.stream.weights, prompt.stream.prompt)
            if key is not None and key not in request.asked:
                request.asked.add(key)
                return Ticket(key, num_rows=1)
        return None

    def num_tokens(self, request_id: TicketId) -> int:
        """What its longest stream has to run. The request waits no more: its prefixes are settled."""
        if isinstance(request_id, PrefixKey):
            self.total_tokens_read += len(request_id.token_ids)
            return len(request_id.token_ids)
        request = self._requests[request_id]
        if request.is_waiting:
            self._stop_waiting(request)
            for prompt in request.prompts:
                prompt.prefix = self._prefixes.find(prompt.stream.weights, prompt.stream.prompt)
                self.total_tokens_read += prompt.num_unread
                self.total_tokens_reused += prompt.start
        return request.num_tokens

    def need(self, request_id: TicketId) -> Need:
        """What it takes of the caches at its longest, with the prefixes that are there now."""
        if isinstance(request_id, PrefixKey):
            of_prefix = self._runners[request_id.weights.model].row_bytes(len(request_id.token_ids))
            return Need(of_prefix, longest=of_prefix)
        request, of_rows = self._requests[request_id], list[int]()
        shared: dict[int, int] = {}
        for prompt in request.prompts:
            stream, prefix = prompt.stream, prompt.prefix
            runner = self._runners[stream.weights.model]
            if request.is_waiting:
                prefix = self._prefixes.find(stream.weights, stream.prompt)
            num_tokens = len(stream.prompt)
            if prefix is not None and runner.is_read_in_place(prefix):
                shared[id(prefix)] = runner.row_bytes(len(prefix))
                num_tokens -= len(prefix)
            of_rows.append(runner.row_bytes(num_tokens, request.max_tokens))
        return Need(sum(of_rows), shared, len(of_rows), max(of_rows))

    @property
    def kept(self) -> Mapping[int, int]:
        """Bytes of the prefixes that are kept for prompts to come, by their identities."""
        kept = self._prefixes.kept.items()
        return {id(prefix): self._runners[key.weights.model].row_bytes(len(prefix)) for key, prefix in kept}

    def pieces(self, chunk: PrefillChunk) -> Iterator[tuple[int, PromptChunk]]:
        """The chunk as the runners read it, each with the number of its runner; nothing where a stream is shorter."""
        if isinstance(chunk.request_id, PrefixKey):
            weights, token_ids = chunk.request_id.weights, chunk.request_id.token_ids
            part = token_ids[chunk.start : chunk.end]
            yield weights.model, PromptChunk((chunk.request_id, 0), weights.adapter, part, chunk.start, is_last=False)
            return
        request = self._requests[chunk.request_id]
        for index, prompt in enumerate(request.prompts):
            skipped = request.num_tokens - prompt.num_unread
            start = prompt.start + max(0, chunk.start - skipped)
            token_ids = prompt.stream.prompt[start : max(start, prompt.start + chunk.end - skipped)]
            if token_ids:
                weights = prompt.stream.weights
                key = (chunk.request_id, index)
                yield (
                    weights.model,
                    PromptChunk(key, weights.adapter, token_ids, start, is_last=chunk.is_last, prefix=prompt.prefix),
                )

    def keep(self, key: PrefixKey, prefix: SharedPrefix) -> None:
        """Keep a prefix that was read, for requests that begin with it; the least used go when there are too many."""
        self._prefixes.keep(key, prefix)

    def forget_prefixes(self) -> None:
        """Give back the memory of prefixes that no row uses."""
        self._prefixes.forget()

    def _stop_waiting(self, request: _Request) -> None:
        request.is_waiting = False
        for prompt in request.prompts:
            self._prefixes.remove(prompt.stream.weights, prompt.stream.prompt)
