"""Supervises the engine process: starts it, feeds it, notices that it died or fell silent, and finds out why.

Imports no torch: CUDA never meets the process that Celery runs in.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.engine_load import EngineLoad
from domain.model_descriptions import ModelDescription
from domain.pairs import PreferredPair
from domain.states import WorkerState
from domain.text_pieces import Piece
from worker import metrics
from worker.supervision import engine_process
from worker.supervision.protocol import (
    Cancel,
    Command,
    Compare,
    Compared,
    Decode,
    DecoderUnavailableError,
    Ended,
    Features,
    Grown,
    LoadDecoder,
    LoadFailed,
    Measured,
    Ready,
    Report,
    Stop,
)
from worker.supervision.triage import Triage

POISONED = "poisoned"
POISONED_MESSAGE = "The engine died each time it decoded this item alone."
STOP_SECONDS = 5.0
WAIT_SECONDS = 1.0
MAX_FAILED_STARTS = 3
GATHERING_SECONDS = 0.01
"""How long the outcomes of further steps are waited for: steps of a millisecond are taken together, ten at a time."""
LOST_PIPE = (EOFError, OSError)
"""The end of a pipe: between two messages, in the middle of one, or before the process had read what it was sent."""
CHANGED = "The model's files have changed since this worker began: it ends, and the next serves what is there now."

log = structlog.get_logger(__name__)


class EngineLostError(Exception):
    """The engine process died or fell silent while it scored texts."""


class EngineSupervisor:
    """One engine process, restarted as often as it takes."""

    def __init__(
        self,
        load_decoder: LoadDecoder,
        *,
        start_seconds: float,
        silence_seconds: float,
        on_pieces: Callable[[Sequence[Piece]], None] = lambda _: None,
        on_state: Callable[[WorkerState], None] = lambda _: None,
    ) -> None:
        """`on_pieces` is given the pieces of texts that somebody listens to as soon as they are there; never waits.

        `on_state` is told READY when a process has loaded the model, and LOADING when that process is lost.
        """
        self._load_decoder = load_decoder
        self._on_pieces = on_pieces
        self._on_state = on_state
        self._start_seconds = start_seconds
        self._silence_seconds = silence_seconds
        self._triage = Triage()
        self._engine: _Engine | None = None
        self._failed_starts = 0
        self._num_comparisons = 0
        self._meter = metrics.EngineMeter()
        self._deaths: set[Attempt] = set()
        self._told_deaths: set[Attempt] = set()
        self.num_slots = 0
        self._description: ModelDescription | None = None

    @property
    def num_items(self) -> int:
        """Items taken in whose outcome is still to come."""
        return self._triage.num_items

    @property
    def attempts(self) -> set[Attempt]:
        """The attempts taken in whose outcome is still to come."""
        return self._triage.attempts

    @property
    def load(self) -> EngineLoad:
        """How full the engine is, as it last said."""
        return replace(self._meter.load, num_slots=self.num_slots)

    def start(self) -> ModelDescription:
        """Start the process and wait until its model is loaded; raises `DecoderUnavailableError` with the reason."""
        self.poll(0)
        while self._engine is None or not self._engine.ready or self._description is None:
            self.poll(WAIT_SECONDS)
        return self._description

    def submit(self, items: Sequence[ClaimedItem]) -> None:
        """Take items in; they go to the engine at the next `poll`.

        An item of which an earlier attempt is still here was taken away from this worker before it knew: the engine
        forgets the earlier attempt before it hears of the new one.
        """
        claimed = {item.item_id for item in items}
        self.cancel(attempt for attempt in self.attempts if attempt.item_id in claimed)
        self._triage.add(items)

    def cancel(self, attempts: Iterable[Attempt]) -> None:
        """Forget attempts whose lease was lost: no outcome of theirs will be returned."""
        gone = tuple(attempts)
        self._triage.end(gone)
        if not self.num_items:
            self._meter.rest()
        if gone and self._engine is not None:
            self._engine.send(Cancel(gone))

    def poll(self, timeout_seconds: float) -> list[Outcome]:
        """Feed the engine, wait up to `timeout_seconds` for reports, and return the outcomes among them.

        Starts the process where there is none, without waiting for it: leases must be extended meanwhile. Raises
        `DecoderUnavailableError` when the model cannot be loaded.
        """
        engine = self._engine = self._engine or _Engine(self._load_decoder)
        # What a dead process is sent would be held against the items: they would look as if it died of them.
        if engine.ready and engine.is_alive and (batch := self._triage.feed()):
            engine.send(Decode(tuple(batch)))
        outcomes: list[Outcome] = []
        try:
            self._hear(engine.reports(timeout_seconds), outcomes)
        except LOST_PIPE:
            return outcomes + self._recover(engine, metrics.DIED)
        patience = self._silence_seconds if engine.ready else self._start_seconds
        return outcomes if engine.silent_seconds <= patience else outcomes + self._recover(engine, metrics.FELL_SILENT)

    def watch(self, seconds: float) -> None:
        """See to an engine that has nothing to do: a new one is begun for one that died or fell silent.

        To be called every so many `seconds` while no item is inside; does not wait. Raises
        `DecoderUnavailableError` when the model cannot be loaded again.
        """
        if self._engine is not None:
            self._engine.silent_seconds += seconds  # what it has said meanwhile sets it to 0
        self.poll(0)

    def take_deaths(self) -> set[Attempt]:
        """What the engine was decoding when it died, since this was last asked; each attempt once.

        An item may be inside when the engine dies again and again: its neighbour is looked for, and that is no more
        than one attempt.
        """
        deaths, self._deaths = self._deaths - self._told_deaths, set()
        self._told_deaths = (self._told_deaths & self.attempts) | deaths
        return deaths

    def compare(
        self, pairs: Sequence[PreferredPair], principles: Sequence[str], on_wait: Callable[[], None]
    ) -> list[Features | None]:
        """The features of pairs of texts (`Decoder.compare`); only while no item is inside.

        `on_wait` is called about every second, and what it raises ends the wait. Raises EngineLostError when the
        process is lost, and `DecoderUnavailableError` when the model cannot be loaded again.
        """
        self.poll(0)
        while not (self._engine is not None and self._engine.ready):
            on_wait()
            self.poll(WAIT_SECONDS)
        engine = self._engine
        self._num_comparisons += 1  # an answer to an earlier question, whose asker gave up, may still be on its way
        engine.send(Compare(self._num_comparisons, tuple(pairs), tuple(principles)))
        try:
            while engine.silent_seconds <= self._silence_seconds:
                for report in engine.reports(WAIT_SECONDS):
                    if isinstance(report, Measured):
                        self._meter.measure(report.statistics)
                    if isinstance(report, Compared) and report.number == self._num_comparisons:
                        return list(report.features)
                on_wait()
        except LOST_PIPE:
            self._recover(engine, metrics.DIED)
        else:
            self._recover(engine, metrics.FELL_SILENT)
        raise EngineLostError

    def _hear(self, reports: Iterable[Report], outcomes: list[Outcome]) -> None:
        """Note what the engine says; outcomes are added to the list at once, for the pipe may end at any report."""
        for report in reports:
            match report:
                case Measured(statistics):
                    self._meter.measure(statistics)
                case Ready(num_slots, description, statistics):
                    self._meter.begin(statistics)
                    self._check_identity(description)
                    self.num_slots, self._failed_starts = num_slots, 0
                    self._on_state(WorkerState.READY)
                case LoadFailed(message):
                    self.stop()
                    raise DecoderUnavailableError(message)
                case Grown(pieces):
                    self._on_pieces(pieces)
                case Ended(ended):
                    outcomes += [outcome for outcome in ended if self._triage.is_inside(outcome.key)]
                    self._triage.end(outcome.key for outcome in ended)
                    if self._triage.is_engine_empty:
                        break  # nothing follows that is worth a wait

    def _check_identity(self, description: ModelDescription) -> None:
        """Items were claimed for one model: an engine that was started anew must not decode them with another."""
        if self._description is not None and self._description.digest != description.digest:
            self.stop()
            raise DecoderUnavailableError(CHANGED)
        self._description = description

    def _recover(self, engine: "_Engine", why: str) -> list[Outcome]:
        """Bury the process, hear what it had still said, and plan the trials of what was inside.

        Returns the outcomes that it had said, and that of an item that is known to be poisoned now.
        """
        self._engine = None
        outcomes: list[Outcome] = []
        self._hear(engine.last_reports(), outcomes)
        exit_code = engine.bury()
        metrics.count_lost_engine(why)
        log.error("engine_lost", why=why, exit_code=exit_code, ready=engine.ready, num_items=self.num_items)
        if not engine.ready:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                hint = " (PADSERVE_ENGINE_START_SECONDS)" if why == metrics.FELL_SILENT else ""
                message = f"The engine process {why} {self._failed_starts} times while it loaded the model{hint}."
                raise DecoderUnavailableError(message)
            return outcomes
        self._on_state(WorkerState.LOADING)
        self._deaths |= self._triage.inside
        poisoned = self._triage.crash()
        if poisoned is not None:
            key = poisoned.attempt_key
            outcomes.append(Outcome(*key, error_code=POISONED, error_message=POISONED_MESSAGE))
        return outcomes

    def stop(self) -> None:
        """End the process, kindly first; one that still loads listens to nobody, and has nothing to lose."""
        if self._engine is not None:
            self._engine.send(Stop())
            self._engine.bury(STOP_SECONDS if self._engine.ready else 0)
            self._engine = None


class _Engine:
    """One incarnation of the engine process, with our end of its pipe."""

    def __init__(self, load_decoder: LoadDecoder) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=engine_process.run, args=(theirs, load_decoder), name="padserve-engine")
        self._process.start()
        theirs.close()  # so that the pipe ends when the process does
        self.ready = False
        self.silent_seconds = 0.0
        """Listened to in vain. Time in which nobody listened, or in which the machine stood still, says nothing."""

    def send(self, command: Command) -> None:
        try:
            self._connection.send(command)
        except (BrokenPipeError, ConnectionResetError):
            log.warning("engine_gone", command=type(command).__name__)  # the next receive finds the end of the pipe

    def reports(self, timeout_seconds: float) -> Iterator[Report]:
        """What the process said: waits for the first report, then a moment for whatever follows it.

        Texts that grow and measurements are no reason to wait no longer.
        """
        patience = timeout_seconds
        until = time.monotonic() + timeout_seconds
        while self._connection.poll(patience):
            report = self._receive()
            yield report
            if not isinstance(report, Grown | Measured):
                until = min(until, time.monotonic() + GATHERING_SECONDS)
            patience = max(0.0, until - time.monotonic())
        self.silent_seconds += patience

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def last_reports(self) -> Iterator[Report]:
        """End the process, and yield what it had said and nobody has heard."""
        self._process.kill()
        self._process.join()
        with suppress(*LOST_PIPE):
            while self._connection.poll(0):
                yield self._receive()

    def _receive(self) -> Report:
        report: Report = self._connection.recv()
        self.silent_seconds = 0.0
        self.ready = self.ready or isinstance(report, Ready)
        return report

    def bury(self, grace_seconds: float = 0.0) -> int | None:
        """End the process for good and return its exit code."""
        self._process.join(grace_seconds)
        self._process.kill()
        self._process.join()
        self._connection.close()
        exit_code = self._process.exitcode
        self._process.close()
        return exit_code
