"""`python -m worker`: load the model, then decode what is queued until told to end.

A start that cannot succeed ends with one line on standard error and exit code 1. What is wrong with a model is also
left in the database, where the API shows it. A database or a Redis that is away is waited for, at the start as later;
whatever else ends a worker gives another exit code, and whoever started it should start it again.
"""

import gc
import os
import signal
import sys
import threading
from functools import partial
from types import FrameType

import structlog
from pydantic import ValidationError

from db.session import Database, DatabaseUnreachableError
from domain import fault_points
from domain.fault_points import FaultPointError
from domain.model_descriptions import ModelDescription
from domain.settings_errors import sentence_of
from domain.states import WorkerState
from telemetry.logs import LogLevelError, configure_logs
from telemetry.metrics import watch
from telemetry.tracing import TracingError, configure_tracing
from worker import metrics
from worker.learning.fits import Learning, LearningPolicy
from worker.pieces import PieceSender
from worker.pipeline.decoding import Decoding, DecodingPolicy
from worker.pipeline.presence import Presence
from worker.pipeline.reconciler import Reconciler
from worker.pipeline.turns import Turns
from worker.pipeline.waiting import until_done
from worker.queue import QueueUrlError, check_queue_url, create_queue
from worker.settings import WorkerSettings
from worker.supervision.engine_process import load_text_decoder
from worker.supervision.protocol import DecoderUnavailableError
from worker.supervision.supervisor import EngineSupervisor
from worker.supervision.threads import Threads
from worker.tasks import consume, register_tasks

UNCONFIGURED = "(none)"
REFUSED, LOST = 1, 70
"""Exit codes: it would be the same again; it was no fault of what the worker was told."""
COLLECT_AFTER = 50_000
"""Objects. Items come and go as tuples, a thousand with each claim: looking for circles among them, and among all that
is loaded, took a quarter of the time that claims and saves do."""
STATEMENT_SECONDS = 20
"""A lease is longer than a statement that nobody answers."""

log = structlog.get_logger(__name__)


def main() -> int:
    """Run one worker; returns the exit code."""
    try:
        configure_logs()
        configure_tracing("padserve-worker")
        fault_points.arm()
        settings = WorkerSettings()
        database = Database(settings.database_url, statement_seconds=STATEMENT_SECONDS)
        check_queue_url(settings.redis_url)
        _serve_metrics(settings, database)
    except ValidationError as error:
        return _refuse(sentence_of(error))
    except FaultPointError as error:
        return _refuse(f"{fault_points.VARIABLE}: {error}")
    except (DatabaseUnreachableError, LogLevelError, QueueUrlError, MetricsPortError, TracingError) as error:
        return _refuse(str(error))
    try:
        return _Worker(settings, database).run()
    except Exception:
        log.exception("worker_lost")
        return LOST


class MetricsPortError(Exception):
    """What the worker counts cannot be shown where the settings say."""


def _serve_metrics(settings: WorkerSettings, database: Database) -> None:
    watch(database)
    if settings.metrics_port is None:
        return
    try:
        metrics.serve(settings.metrics_host, settings.metrics_port)
    except (OSError, UnicodeError) as error:
        where = f"PADSERVE_METRICS_HOST {settings.metrics_host}, PADSERVE_METRICS_PORT {settings.metrics_port}"
        reason = error.strerror if isinstance(error, OSError) else "that is no address"
        raise MetricsPortError(f"Cannot serve metrics at {where}: {reason}.") from error


class _ToldToEndError(BaseException):
    """SIGTERM or SIGINT came before Celery's handlers took over. Not an `Exception`: nothing may swallow it."""


class _Worker:
    def __init__(self, settings: WorkerSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._model = settings.name or UNCONFIGURED
        self._stopping = threading.Event()
        self._is_registered = False
        self._failure: str | None = None
        self._exit_code = 0
        self._threads = Threads(self._stopping, self._lose)
        self._presence = Presence(database, self._model, settings.aliases)
        self._pieces = PieceSender(settings.redis_url)
        self._supervisor = EngineSupervisor(
            partial(load_text_decoder, settings),
            start_seconds=settings.engine_start_seconds,
            silence_seconds=settings.engine_silence_seconds,
            on_pieces=self._pieces.send,
            on_state=self._say,
        )

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end)
        try:
            self._start()
        except _ToldToEndError:
            log.info("told_to_end")
        except DecoderUnavailableError as error:
            self._fail(str(error), REFUSED)
        finally:
            self._stopping.set()
            self._supervisor.stop()
        if self._failure is None:
            self._presence.say(WorkerState.STOPPED)
        else:
            sys.stderr.write(f"padserve worker: {self._failure}\n")
        return self._exit_code

    def _start(self) -> None:
        until_done(self._database.check, self._stopping)
        self._presence.register(self._stopping)
        self._threads.start("presence", self._presence.keep)
        description = self._supervisor.start()
        self._presence.register_model(description, self._stopping)
        self._is_registered = True
        self._presence.say(WorkerState.READY)
        self._serve(description)

    def _serve(self, description: ModelDescription) -> None:
        queue = create_queue(self._settings.redis_url)
        decoding = Decoding(self._database, self._supervisor, self._policy(description))
        log.info("serving", model_digest=description.digest, owner=str(decoding.owner))
        self._presence.tell_speed(lambda: decoding.throughput.tokens_per_second)
        self._presence.tell_load(lambda: self._supervisor.load)
        metrics.tell_speed(lambda: decoding.throughput.tokens_per_second)
        learning = Learning(self._database, self._supervisor, self._learning_policy(description), decoding.stopping)
        turns = Turns(decoding, learning, on_failure=self._refuse_and_end, watch_engine=self._supervisor.watch)
        reconciler = Reconciler(
            self._database,
            model_digest=description.digest,
            max_attempts=self._settings.max_attempts,
            is_idle=lambda: not decoding.is_running and not learning.is_running,
            wake=turns.ask,
        )
        register_tasks(queue, description.digest, turns, decoding.stopping)
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        try:
            self._threads.start("reconciler", partial(reconciler.run, self._settings.reconcile_seconds))
            self._threads.start("turns", turns.run)
            consume(queue, description.digest, decoding.stopping)
        finally:
            self._stopping.set()
            decoding.stopping.set()
            turns.finish()

    def _policy(self, description: ModelDescription) -> DecodingPolicy:
        return DecodingPolicy(
            model_digest=description.digest,
            lease_seconds=self._settings.lease_seconds,
            time_slice_seconds=self._settings.time_slice_seconds,
            drain_seconds=self._settings.drain_seconds,
        )

    def _learning_policy(self, description: ModelDescription) -> LearningPolicy:
        return LearningPolicy(
            model_digest=description.digest,
            lease_seconds=self._settings.lease_seconds,
            max_attempts=self._settings.max_attempts,
        )

    def _say(self, state: WorkerState) -> None:
        """What the engine is, this worker is; but at the first start, until the model is registered."""
        if self._is_registered and self._failure is None:
            self._presence.say(state)

    def _refuse_and_end(self, message: str) -> None:
        self._fail(message, REFUSED)
        os.kill(os.getpid(), signal.SIGTERM)

    def _lose(self, message: str) -> None:
        """A thread has died: end as if told to, but not in peace."""
        self._fail(message, LOST)
        os.kill(os.getpid(), signal.SIGTERM)

    def _fail(self, message: str, exit_code: int) -> None:
        self._failure, self._exit_code = message, exit_code
        self._presence.say(WorkerState.FAILED, message)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Once: what ends the worker is not to be interrupted by being told again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise _ToldToEndError


def _refuse(message: str) -> int:
    sys.stderr.write(f"padserve worker: {message}\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
