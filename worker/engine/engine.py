"""The engine: requests in, completions out, one token of every active request per step.

Every method of the family is a weighted sum of logits over streams; the engine decodes the streams of a request in
lockstep and gives them all the token that the sum chose. Token ids only; no text, no SQL, no queue.
"""

from collections import abc
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.cache.memory import ROWS_PER_SLOT, Ledger, within_memory
from worker.engine.cache.pages import has_pages
from worker.engine.cache.prefixes import PrefixKey
from worker.engine.checkpoints.generation import GenerationDefaults
from worker.engine.errors import CacheTooSmallError, DuplicateRequestError, OutOfMemoryError, RequestError
from worker.engine.guidance.choice import Choice, Sent, choose_tokens
from worker.engine.models import EngineModels
from worker.engine.prefill import PrefillQueue
from worker.engine.request import Completion, Failure, Request, Score, ScoreRequest, Stream, TokenRewards
from worker.engine.rows import PromptChunk
from worker.engine.scheduler import Plan, Scheduler, Ticket
from worker.engine.scoring import score
from worker.engine.sequence import Chosen, Sequence
from worker.engine.slots import Slots, build_slots
from worker.engine.statistics import EngineStatistics
from worker.engine.streams import guided_streams
from worker.engine.token_rewards import token_rewards
from worker.engine.validation import check_candidates, check_request


@dataclass(frozen=True, slots=True, eq=False)
class _InFlight:
    """A step whose tokens the host has not seen yet."""

    sequences: list[Sequence]
    sent: Sent


class Engine:
    """Decodes many requests at once; `load_engine` makes one.

    `add` queues, `step` decodes one token of every request that has a slot, and `generate` does both. An answer
    depends on its request alone, not on the order, the neighbours, the number of slots or a restart.
    """

    def __init__(
        self,
        models: EngineModels,
        *,
        num_slots: int,
        prefill_budget: int,
        admit_at_least: int = 1,
        cache_bytes: int | None = None,
    ) -> None:
        self._models = models
        ledger = Ledger(cache_bytes, is_rectangle=not has_pages(models.device))
        self._scheduler = Scheduler(num_slots, prefill_budget, admit_at_least, ledger)
        self._sequences: dict[int | str, Sequence] = {}
        self._prompts = PrefillQueue(models.runners)
        # On a GPU the next step is under way before the host looks at the last one's tokens: neither waits.
        self._num_ahead = 1 if models.device.type == "cuda" else 0
        self._in_flight: list[_InFlight] = []
        self._is_feeding = False  # true from here on where a step failed in the middle of it: no row is to be trusted
        self._slots: Slots | None = None  # None: a request has joined or left since they were built
        self._total_steps = self._total_slot_steps = 0

    @property
    def num_slots(self) -> int:
        """Requests that are decoded at once; halved when the device runs out of memory, and back after a while."""
        return self._scheduler.num_slots

    @property
    def num_active(self) -> int:
        """Requests in a slot."""
        return self._scheduler.num_active

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._scheduler.num_waiting

    @property
    def statistics(self) -> EngineStatistics:
        """What it has done and what it holds, at this moment; costs no more than a look."""
        runners = self._models.runners
        return EngineStatistics(
            num_slots=self.num_slots,
            num_active=self.num_active,
            num_waiting=self.num_waiting,
            total_steps=self._total_steps,
            total_slot_steps=self._total_slot_steps,
            total_prompt_tokens_read=self._prompts.total_tokens_read,
            total_prompt_tokens_reused=self._prompts.total_tokens_reused,
            cache_bytes_budget=self._scheduler.ledger.num_bytes,
            cache_bytes_promised=self._scheduler.ledger.promised(self._prompts.kept),
            cache_bytes_reserved=sum(runner.cache_bytes_reserved for runner in runners),
            cache_bytes_used=sum(runner.cache_bytes_used for runner in runners),
            cache_tokens=sum(runner.cache_tokens for runner in runners),
        )

    @property
    def vocab_size(self) -> int:
        """Token ids are below this."""
        return self._models.limits.vocab_size

    @property
    def max_length(self) -> int:
        """Most tokens that a prompt and its completion may have together."""
        return self._models.limits.max_length

    def room(self, streams: abc.Sequence[Stream]) -> int:
        """Most tokens that an answer to these streams may have; below 1 where their prompts leave none."""
        return self._models.limits.room(streams)

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end a completion."""
        return self._models.eos_token_ids

    @property
    def weights(self) -> tuple[str, ...]:
        """The names that streams may use."""
        return tuple(self._models.weights)

    @property
    def foreign_weights(self) -> tuple[str, ...]:
        """Those whose tokens are not the base's: their prompts are in their own, and they judge texts."""
        return tuple(self._models.limits.own_tokens)

    @property
    def device(self) -> torch.device:
        """Where the models are."""
        return self._models.device

    @property
    def dtype(self) -> torch.dtype:
        """What the models compute in; scores and rewards are float64."""
        return self._models.dtype

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """What the base's checkpoint asks for where a request states nothing; the engine itself applies none of it."""
        return self._models.generation_defaults

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found at load and is no reason to refuse the models: a sentence each."""
        return self._models.warnings

    def add(self, request: Request) -> None:
        """Queue a request; raises a RequestError that says what is wrong with it."""
        check_request(request, self._models.limits)
        if request.request_id in self._sequences:
            raise DuplicateRequestError(request_id=request.request_id)
        streams = guided_streams(request, self._models.weights)
        check_candidates(request, streams, self._models.limits)
        self._prompts.add(request.request_id, streams, request.max_tokens)
        self._check_size(request)
        self._sequences[request.request_id] = Sequence(request, streams)
        self._scheduler.add(Ticket(request.request_id, len(streams)))

    def _check_size(self, request: Request) -> None:
        """Refuse what no cache of this size can hold, even alone."""
        budget, need = self._scheduler.ledger.num_bytes, self._prompts.need(request.request_id).own
        if budget is not None and need > budget:
            self._prompts.remove({request.request_id})
            raise CacheTooSmallError(
                num_rows=len(request.streams),
                num_tokens=max(len(stream.prompt) for stream in request.streams) + request.max_tokens,
                needed=need,
                budget=budget,
            )

    def cancel(self, request_id: int | str) -> None:
        """Drop a request, waiting or active, without an outcome; an unknown one is no error."""
        if request_id in self._sequences:
            self._forget({request_id})

    def token_ids(self, request_id: int | str) -> tuple[int, ...]:
        """The tokens of a request so far, as the host knows them; none of one that waits, has ended or is unknown."""
        sequence = self._sequences.get(request_id)
        return () if sequence is None else tuple(sequence.token_ids)

    def close(self) -> None:
        """End the processes of the other devices that hold the models; where there are some, nothing runs from then on.

        They end as well when nobody uses the engine any more, and with this process.
        """
        self._models.runners[0].group.close()

    def step(self) -> list[Completion | Failure]:
        """Decode one token of every active request, and read prompts; those that ended with it."""
        plan = self._scheduler.schedule(self._prompts)
        if not plan.decoding and not plan.chunks:
            self._in_flight.clear()
            return []
        self._total_steps += 1
        self._total_slot_steps += self._scheduler.num_active
        in_flight = within_memory(lambda: self._decode(plan))
        if in_flight is None:
            outcomes = self._settle(self._in_flight)
            self._make_room(plan)
            if plan.is_smallest and not outcomes and not self._scheduler.can_read_less(plan):
                raise OutOfMemoryError
            return outcomes
        self._scheduler.succeed()
        return self._settle(in_flight[: len(in_flight) - self._num_ahead])

    def generate(self, requests: Iterable[Request]) -> Generator[Completion | Failure, None, None]:
        """The outcomes of all requests, each as soon as it is known; a refused request is a Failure.

        Requests are taken from the iterable as slots become free. Those added before are finished as well. If the
        iterator is closed early, the requests it took are cancelled.
        """
        untaken = iter(requests)
        taken: set[int | str] = set()
        try:
            while True:
                yield from self._take(untaken, taken)
                if not self._sequences:
                    return
                for outcome in self.step():
                    taken.discard(outcome.request_id)
                    yield outcome
        finally:
            self._forget(taken)

    def score(
        self, requests: Iterable[ScoreRequest], on_forward: Callable[[], None] = lambda: None
    ) -> list[Score | Failure]:
        """How likely completions are that are given, in the order of the requests; a refused one is a Failure.

        Many texts are read in one forward; `on_forward` is called after each. Requests that are being decoded go on
        afterwards as if nothing had been.
        """
        return score(
            list(requests),
            self._models,
            num_tokens=self._scheduler.prefill_budget,
            num_rows=ROWS_PER_SLOT * self.num_slots,
            on_forward=on_forward,
        )

    def token_rewards(
        self, request: Request, completion_ids: abc.Sequence[int], on_forward: Callable[[], None] = lambda: None
    ) -> TokenRewards | Failure:
        """What guided each token of a completion that this request has given, or of any other text.

        Nothing is decoded; the request's own length, seed and temperature are of no account. `on_forward` is called
        after each forward. Requests that are being decoded go on afterwards as if nothing had been.
        """
        return token_rewards(
            request, completion_ids, self._models, num_tokens=self._scheduler.prefill_budget, on_forward=on_forward
        )

    def _take(self, untaken: Iterator[Request], taken: set[int | str]) -> Iterator[Failure]:
        """Queue requests until as many wait as there are slots; those that are refused."""
        while self.num_waiting < self.num_slots:
            request = next(untaken, None)
            if request is None:
                return
            try:
                self.add(request)
                taken.add(request.request_id)
            except RequestError as error:
                yield Failure(request.request_id, error.code, str(error))

    def _decode(self, plan: Plan) -> list[_InFlight]:
        """Run, steer, sample and feed; the steps whose tokens the host has not seen yet, this one last."""
        hidden = self._run(plan)
        choice = choose_tokens(self._models.runners, hidden, self._current_slots(plan)) if plan.active else None
        self._is_feeding = True
        self._feed(plan, choice)
        self._is_feeding = False
        return self._in_flight

    def _run(self, plan: Plan) -> tuple[Tensor, ...]:
        """Last hidden states per runner, of the rows that decode and of those that join them with this step."""
        pieces: list[list[PromptChunk]] = [[] for _ in self._models.runners]
        for chunk in plan.chunks:
            if not isinstance(chunk.request_id, PrefixKey):
                self._sequences[chunk.request_id].begin()
            for model, piece in self._prompts.pieces(chunk):
                pieces[model].append(piece)
        if plan.joining:
            self._slots = None
        return tuple(runner.run(rows) for runner, rows in zip(self._models.runners, pieces, strict=True))

    def _current_slots(self, plan: Plan) -> Slots:
        if self._slots is None:
            sequences = [self._sequences[request_id] for request_id in plan.active]
            rows = [runner.decoding_keys for runner in self._models.runners]
            self._slots = build_slots(
                sequences, rows, self.device, num_logits=self._models.num_logits, eos_token_ids=self.eos_token_ids
            )
        return self._slots

    def _feed(self, plan: Plan, choice: Choice | None) -> None:
        """Give the rows their tokens, without waiting for what they are."""
        self._prompts.remove(plan.joining)
        self._keep_prefixes(plan)
        if choice is None:
            return
        slots = self._current_slots(plan)
        for runner, slot_of_row in zip(self._models.runners, slots.slot_of_row, strict=True):
            runner.feed(choice.token_ids[slot_of_row])
        self._slots = slots.advanced(choice.token_ids)
        sequences = [self._sequences[request_id] for request_id in plan.active]
        for sequence in sequences:
            sequence.num_chosen += 1
        self._in_flight.append(_InFlight(sequences, choice.send()))

    def _settle(self, steps: list[_InFlight]) -> list[Completion | Failure]:
        """Append tokens of earlier steps; outcomes of the requests that ended, whose slots are free from now on."""
        outcomes: list[Completion | Failure] = []
        for step in list(steps):
            self._in_flight.remove(step)
            ended: list[Completion | Failure] = []
            for sequence, chosen in zip(step.sequences, step.sent.values(), strict=True):
                if self._sequences.get(sequence.request.request_id) is not sequence:
                    continue  # it ended, or was cancelled, while this token was on its way
                outcome = self._outcome(sequence, chosen)
                if outcome is not None:
                    ended.append(outcome)
            self._forget({outcome.request_id for outcome in ended if isinstance(outcome, Failure)})
            self._forget({outcome.request_id for outcome in ended if isinstance(outcome, Completion)}, scrub=False)
            outcomes += ended
        return outcomes

    def _outcome(self, sequence: Sequence, chosen: Chosen) -> Completion | Failure | None:
        """What becomes of a request with its next token; nothing yet where it goes on."""
        request_id = sequence.request.request_id
        if not chosen.is_finite and any(request_id in runner.outgrown for runner in self._models.runners):
            return sequence.cut_off()
        return sequence.advance(chosen, self.eos_token_ids)

    def _keep_prefixes(self, plan: Plan) -> None:
        """A prefix that was read to its end is kept for the requests that wait for it."""
        for chunk in plan.chunks:
            if chunk.is_last and isinstance(chunk.request_id, PrefixKey):
                key = chunk.request_id
                self._prompts.keep(key, self._models.runners[key.weights.model].take_prefix(key))

    def _make_room(self, plan: Plan) -> None:
        """Halve the slots after the device ran out of memory; requests that lose theirs start again from the prompt."""
        no_row_is_known = self._is_feeding or any(runner.is_recurrent for runner in self._models.runners)
        evicted = self._scheduler.halve(plan, keep_none=no_row_is_known)
        self._is_feeding = False
        for request_id in evicted:
            if not isinstance(request_id, PrefixKey):
                self._sequences[request_id].restart()
                self._prompts.remove({request_id})
                sequence = self._sequences[request_id]
                self._prompts.add(request_id, sequence.streams, sequence.request.max_tokens)
        self._prompts.forget_prefixes()
        for runner in self._models.runners:
            runner.release(evicted, scrub=True)
            runner.shrink()
        self._slots = None

    def _forget(self, request_ids: Collection[int | str], *, scrub: bool = True) -> None:
        """Let go of requests; only completed ones are known to leave nothing in their rows that must be scrubbed."""
        if not request_ids:
            return
        abandoned = self._scheduler.remove(request_ids)
        self._prompts.remove(request_ids)
        for runner in self._models.runners:
            runner.release(request_ids, scrub=scrub)
            if abandoned is not None:
                runner.release({abandoned}, scrub=True)
        for request_id in request_ids:
            self._sequences.pop(request_id, None)
        self._slots = None
