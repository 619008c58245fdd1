"""`python -m api`: serve the HTTP API until told to end.

A start that cannot succeed ends with one line on standard error and exit code 1.
"""

import errno
import gc
import signal
import socket
import sys
import threading

import structlog
import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.bulk import BulkProcesses
from api.http.serving import ListeningServer
from api.settings import Settings
from api.webhooks.delivering import Deliverer
from db.session import Database, DatabaseUnreachableError
from domain import fault_points
from domain.fault_points import FaultPointError
from domain.settings_errors import sentence_of
from telemetry.logs import LogLevelError, configure_logs
from telemetry.metrics import watch
from telemetry.tracing import TracingError, configure_tracing
from worker.queue import QueueUnreachableError, check_queue

SHUTDOWN_SECONDS = 10
PUBLISH_AT_THE_END_SECONDS = 1.0
BACKLOG = 2048
WARM_UP_SECONDS = 5.0
"""After its start the API prepares for large jobs: it takes a second of a processor, which the start needs itself."""
COLLECT_AFTER = 20_000
"""Objects. Looking for circles among all that is loaded takes longer than an answer: it is done seldom."""
# How long a thread that computes keeps the interpreter while others wait: short, so that polls answer during an import.
SWITCH_SECONDS = 0.0005

log = structlog.get_logger("api")


class StartError(Exception):
    """The API cannot start."""


def main() -> int:
    """Serve; returns the exit code."""
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        configure_logs()
        configure_tracing("padserve-api")
        fault_points.arm()
        settings = read_settings()
        database = Database(settings.database_url)
        watch(database)
        database.check()
        check_queue(settings.redis_url)
        listener = listen(settings.host, settings.port)
    except FaultPointError as error:
        sys.stderr.write(f"padserve api: {fault_points.VARIABLE}: {error}\n")
        return 1
    except (LogLevelError, TracingError, StartError, DatabaseUnreachableError, QueueUnreachableError) as error:
        sys.stderr.write(f"padserve api: {error}\n")
        return 1
    bulk = BulkProcesses(settings)
    app = create_app(settings, database=database, bulk=bulk)
    config = uvicorn.Config(
        app,
        root_path=settings.root_path,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    log.info("listening", host=settings.host, port=listener.getsockname()[1])
    server = ListeningServer(config, app.state.services.listeners)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn raises the signal once more when it has finished; then it must not end the process with an error.
        signal.signal(number, server.handle_exit)
    deliverer = Deliverer(database, allow_private=settings.webhook_private_addresses)
    deliverer.start()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    warming_up = threading.Timer(WARM_UP_SECONDS, bulk.warm_up)
    warming_up.start()
    with listener:
        server.run(sockets=[listener])
    warming_up.cancel()
    deliverer.close()
    bulk.close()
    app.state.services.ear.close()
    app.state.services.publisher.close(PUBLISH_AT_THE_END_SECONDS)
    database.dispose()
    return 0


def read_settings() -> Settings:
    """The settings in the environment; raises `StartError` for the first that is missing or unreadable."""
    try:
        return Settings()
    except ValidationError as error:
        raise StartError(sentence_of(error)) from error


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises `StartError` when the port is taken or the host is not ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With the protocol named: only then does asyncio switch Nagle's algorithm off, which costs 40 ms an answer.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = "that is no address" if isinstance(error, UnicodeError) else error.strerror
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason = "it is in use"
        raise StartError(f"Cannot listen on {host} port {port} (PADSERVE_HOST, PADSERVE_PORT): {reason}.") from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
