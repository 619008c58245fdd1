"""`python -m worker`: load the model, then decode what is queued until told to end.

A start that cannot succeed ends with one line on standard error and exit code 1. What is wrong with a model is also
left in the database, where the API shows it.
"""

import sys
import threading
from collections.abc import Callable
from functools import partial

from pydantic import ValidationError

from db.logs import configure_logs
from db.model_descriptions import ModelDescription
from db.session import Database, DatabaseUnreachableError
from db.states import WorkerState
from worker.decoding import Decoding, DecodingPolicy
from worker.engine_process import load_text_decoder
from worker.learning import Learning, LearningPolicy
from worker.presence import Presence
from worker.protocol import DecoderUnavailableError
from worker.queue import QueueUnreachableError, check_queue, create_queue
from worker.reconciler import Reconciler
from worker.settings import WorkerSettings
from worker.supervisor import EngineSupervisor
from worker.tasks import serve

UNCONFIGURED = "(none)"


def main() -> int:
    """Run one worker; returns the exit code."""
    configure_logs()
    try:
        settings = WorkerSettings()
        database = Database(settings.database_url)
        database.check()
        check_queue(settings.redis_url)
    except ValidationError as error:
        first = error.errors()[0]
        return _refuse(f"PADSERVE_{str(first['loc'][0]).upper()}: {first['msg']}")
    except (DatabaseUnreachableError, QueueUnreachableError) as error:
        return _refuse(str(error))
    return _Worker(settings, database).run()


class _Worker:
    def __init__(self, settings: WorkerSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._model = settings.name or UNCONFIGURED
        self._stopping = threading.Event()
        self._failure: str | None = None
        self._presence = Presence(database, self._model, settings.aliases)
        self._supervisor = EngineSupervisor(
            partial(load_text_decoder, settings),
            start_seconds=settings.engine_start_seconds,
            silence_seconds=settings.engine_silence_seconds,
        )

    def run(self) -> int:
        self._in_background(self._presence.keep)
        try:
            description = self._supervisor.start()
            self._presence.register_model(description, self._stopping)
            self._presence.say(WorkerState.READY)
            self._serve(description)
        except DecoderUnavailableError as error:
            self._fail(str(error))
        finally:
            self._stopping.set()
            self._supervisor.stop()
        if self._failure is not None:
            return _refuse(self._failure)
        self._presence.say(WorkerState.STOPPED)
        return 0

    def _serve(self, description: ModelDescription) -> None:
        queue = create_queue(self._settings.redis_url)
        decoding = Decoding(self._database, self._supervisor, self._policy(description))
        learning = Learning(self._database, self._supervisor, self._learning_policy(description), decoding.stopping)
        reconciler = Reconciler(
            self._database,
            queue,
            model_digest=description.digest,
            max_attempts=self._settings.max_attempts,
            is_idle=lambda: not decoding.is_running and not learning.is_running,
        )
        self._in_background(partial(reconciler.run, self._settings.reconcile_seconds))
        serve(queue, description.digest, decoding, learning, on_failure=self._fail)

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

    def _fail(self, message: str) -> None:
        self._failure = message
        self._presence.say(WorkerState.FAILED, message)

    def _in_background(self, act: Callable[[threading.Event], None]) -> None:
        threading.Thread(target=act, args=(self._stopping,), daemon=True).start()


def _refuse(message: str) -> int:
    sys.stderr.write(f"padserve worker: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
