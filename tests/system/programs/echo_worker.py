"""`python -m worker` with the test decoder for an engine, and a misfortune that its argument names.

`stumble` ends Celery's consumer once, as an error that nobody thought of would; `mute` ends the reconciler's thread
once the worker is up; `ahead` sets the clock of the machine, as this process sees it, an hour ahead; `hurry` tells the
worker to end when it is ready, before Celery listens to signals; `drag` loads for ever; `again` loads at once only the
first time, and later when there is a file `may` in the folder `PADSERVE_HOME`.
"""

import datetime as dt
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[3]))  # for the engine's process, which starts from this file again

from celery.signals import worker_ready
from celery.worker.consumer.consumer import Consumer

import db.session
import worker.__main__ as program
from tests.fake_decoder import load_echo, load_once_it_may
from worker.pipeline.reconciler import Reconciler
from worker.settings import WorkerSettings
from worker.supervision.protocol import Decoder

HOUR = 3600.0


def stumble() -> None:
    start, stumbles = Consumer.start, iter([True])

    def start_or_stumble(self: Consumer) -> None:
        if next(stumbles, False):
            message = "nobody thought of this"
            raise RuntimeError(message)
        start(self)

    patch.object(Consumer, "start", start_or_stumble).start()


def mute() -> None:
    is_up = threading.Event()

    def run(_self: Reconciler, _seconds: float, _stopping: object) -> None:
        is_up.wait()
        raise SystemExit

    worker_ready.connect(lambda **_: is_up.set(), weak=False)
    patch.object(Reconciler, "run", run).start()


def ahead() -> None:
    clock = time.time

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Ahead":
            return cls.fromtimestamp(clock() + HOUR, tz)

    given = SimpleNamespace(**vars(dt))
    given.datetime = Ahead
    patch.object(db.session, "dt", given).start()
    patch.object(time, "time", lambda: clock() + HOUR).start()


def hurry() -> None:
    def tell_to_end(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    patch.object(program, "consume", tell_to_end).start()


def load_for_ever(_settings: WorkerSettings) -> Decoder:
    time.sleep(3600)
    raise AssertionError


def drag() -> None:
    patch.object(program, "load_text_decoder", load_for_ever).start()


def load_when_it_may(_settings: WorkerSettings) -> Decoder:
    return load_once_it_may(os.environ["PADSERVE_HOME"])


def again() -> None:
    patch.object(program, "load_text_decoder", load_when_it_may).start()


MISFORTUNES = {
    "stumble": stumble,
    "mute": mute,
    "ahead": ahead,
    "hurry": hurry,
    "drag": drag,
    "again": again,
}


def main() -> int:
    patch.object(program, "load_text_decoder", load_echo).start()
    for misfortune in sys.argv[1:]:
        MISFORTUNES[misfortune]()
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
