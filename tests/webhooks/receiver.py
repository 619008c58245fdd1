"""A receiver of events on a loopback port: keeps what comes, and answers as it is told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What has come, and what is answered: a status, and headers; by default 204."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    """While it is not set, nothing is answered."""
    forever: bytes = b""
    """Said again and again instead of an answer, until nobody listens."""
    num_said: int = 0
    """How many bytes of it."""
    received: list[Received] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, num_received: int, seconds: float = 30) -> list[Received]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= num_received, seconds), len(self.received)
        return self.received


@contextmanager
def a_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(receiver, ended))
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        ended.set()
        if receiver.hold is not None:
            receiver.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(receiver: Receiver, ended: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with receiver.arrived:
                names = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, names, body))
                receiver.arrived.notify_all()
            if receiver.hold is not None:
                receiver.hold.wait(60)
            if ended.is_set():
                return
            with suppress(OSError):
                while receiver.forever:
                    receiver.num_said += self.wfile.write(receiver.forever * 1000)
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for what another thread writes into a database, which tells nobody."""
    waited = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        waited.wait(0.02)
    raise AssertionError("It did not happen.")
