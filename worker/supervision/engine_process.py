"""The engine's own process: owns the device, decodes what it is sent, and ends when its supervisor does.

Knows neither SQL nor Celery. Signals are the supervisor's business: a Ctrl-C at the terminal must not end a decode
that the supervisor wants to finish.
"""

import gc
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from domain import fault_points
from domain.attempts import Outcome
from domain.fault_points import FaultPoint
from telemetry.logs import configure_logs
from worker.settings import WorkerSettings
from worker.supervision.protocol import (
    Beat,
    Cancel,
    Command,
    Compare,
    Compared,
    Decode,
    Decoder,
    DecoderUnavailableError,
    Ended,
    Grown,
    LoadDecoder,
    LoadFailed,
    Measured,
    Ready,
    Stop,
)

BEAT_SECONDS = 1.0
MEASURE_SECONDS = 1.0
GATHERING_SECONDS = 0.01
"""Outcomes of steps that follow each other within so long are told together: a message costs more than one of them."""


def load_text_decoder(settings: WorkerSettings) -> Decoder:
    """Load the real decoder. It brings torch, so only the engine's process imports it."""
    # Read when torch is loaded: threads that spin while they wait cost several times their work on shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.disable()  # of half a million objects none is garbage, and they are searched again and again while they come
    from worker.texts.decoder import load_decoder  # noqa: PLC0415 - see the docstring

    gc.freeze()  # they stay: no later search, in the middle of a step, looks at them
    gc.enable()

    configure_logs()
    return load_decoder(settings)


def run(connection: Connection, load_decoder: LoadDecoder) -> None:
    """Load, say so, then decode until told to stop or until the supervisor is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    fault_points.arm()
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, commands), daemon=True).start()
    try:
        decoder = load_decoder()
    except DecoderUnavailableError as error:
        connection.send(LoadFailed(str(error)))
        return
    connection.send(Ready(decoder.num_slots, decoder.description, decoder.statistics))
    _Loop(connection, commands, decoder).run()


def _listen(connection: Connection, commands: "queue.SimpleQueue[Command]") -> None:
    """Take commands off the pipe at once, so that neither side ever waits for the other to read."""
    try:
        while True:
            commands.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)  # the supervisor is gone, while loading, in a step or waiting: its leases will expire


class _Loop:
    def __init__(self, connection: Connection, commands: "queue.SimpleQueue[Command]", decoder: Decoder) -> None:
        self._connection = connection
        self._commands = commands
        self._decoder = decoder
        self._stopping = False
        self._last_beat = 0.0
        self._measured_at = 0.0
        self._untold: list[Outcome] = []
        self._told_at = -math.inf

    def run(self) -> None:
        try:
            while not self._stopping:
                if self._decoder.has_work:
                    self._step()
                self._obey()
        finally:
            if self._untold:  # a step that fails takes nothing from those that have ended
                self._say_untold()

    def _step(self) -> None:
        fault_points.reach(FaultPoint.MID_DECODE)
        outcomes = self._decoder.step()
        self._measure(is_last=not self._decoder.has_work)
        if pieces := self._decoder.take_pieces():
            self._connection.send(Grown(tuple(pieces)))
        self._tell(outcomes)

    def _obey(self) -> None:
        """Carry out every waiting command; with nothing to decode, wait for one."""
        while not self._stopping:
            busy = self._decoder.has_work
            try:
                command = self._commands.get(block=not busy, timeout=BEAT_SECONDS)
            except queue.Empty:
                if busy:
                    return
                self._tell(())
            else:
                self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Decode(items):
                refused = (self._decoder.add(item) for item in items)
                self._tell([outcome for outcome in refused if outcome is not None])
            case Cancel(attempts):
                for attempt in attempts:
                    self._decoder.cancel(attempt)
                self._tell(())  # what is untold waits for no step, where none follows
            case Compare(number, pairs, principles):
                features = self._decoder.compare(pairs, principles, on_progress=lambda: self._tell(()))
                self._connection.send(Compared(number, tuple(features)))
            case Stop():
                self._stopping = True

    def _measure(self, *, is_last: bool) -> None:
        """Say now and then how the engine is, and with its last outcome: nobody listens to an idle one."""
        if is_last or time.monotonic() - self._measured_at >= MEASURE_SECONDS:
            self._connection.send(Measured(self._decoder.statistics))
            self._measured_at = time.monotonic()

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        """Say what has ended, or at least that steps are being made.

        At once, unless something was said just now: then with what ends next, or when nothing is left to end.
        """
        self._untold += outcomes
        now = time.monotonic()
        if self._untold and (now - self._told_at >= GATHERING_SECONDS or not self._decoder.has_work):
            self._say_untold()
            self._told_at = self._last_beat = now
        elif now - self._last_beat >= BEAT_SECONDS:
            self._connection.send(Beat())
            self._last_beat = now

    def _say_untold(self) -> None:
        self._connection.send(Ended(tuple(self._untold)))
        self._untold.clear()
        fault_points.reach(FaultPoint.AFTER_TELL)
