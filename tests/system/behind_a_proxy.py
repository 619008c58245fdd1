"""A real API behind a proxy that serves it below a path and takes that path off, as nginx does by `proxy_pass URL/`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from db import schema
from db.queries import keys
from db.session import Database
from tests.api.test_start import environment
from tests.builders import a_model
from tests.servers import free_port
from tests.system.forked import API, ForkedProcess
from tests.system.processes import wait_until

PREFIX = "/tools/padserve"
START_SECONDS = 60.0
_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length"})


@dataclass(frozen=True)
class Proxied:
    """Where the API is for clients, where the proxy finds it, a key, and the database behind it."""

    url: str
    direct_url: str
    key: str
    database: Database


@contextmanager
def api_behind_a_proxy(folder: Path, redis_url: str) -> Iterator[Proxied]:
    """With one model that is served, and one tenant whose key may do everything."""
    database = Database(f"sqlite:///{folder}/padserve.db")
    schema.upgrade(database)
    with database.transaction() as session:
        tenant = keys.create_tenant(session, "default")
        _, key = keys.create_key(session, tenant.id, "test", ["admin"])
    a_model(database)
    port = free_port()
    settings = {"database_url": f"sqlite:///{folder}/padserve.db", "redis_url": redis_url, "root_path": PREFIX}
    process = ForkedProcess(API, [], environment(**settings, port=str(port)), folder / "api.log")
    upstream = f"http://127.0.0.1:{port}"
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("ToUpstream", (Stripping,), {"upstream": upstream}))
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        wait_until(lambda: _answers(upstream), START_SECONDS, "the API")
        yield Proxied(f"http://127.0.0.1:{proxy.server_address[1]}{PREFIX}", upstream, key, database)
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        process.terminate()
        process.wait(START_SECONDS)
        database.dispose()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


class Stripping(BaseHTTPRequestHandler):
    """Sends what is below the prefix on, without it; nothing else is here."""

    upstream: str

    def forward(self) -> None:
        if not self.path.startswith(f"{PREFIX}/"):
            self.send_error(404)
            return
        address = self.upstream + self.path.removeprefix(PREFIX)
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP]
        with (
            httpx.Client(timeout=None) as client,  # noqa: S113 - streams of events have no end
            client.stream(self.command, address, headers=headers, content=self._body()) as answer,
        ):
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            for chunk in answer.iter_raw():
                self.wfile.write(chunk)
                self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = forward  # noqa: N815 - as the server calls them

    def handle(self) -> None:
        """Answer; whoever goes away in the middle of an answer, as browsers do, is no error."""
        with suppress(ConnectionError, httpx.TransportError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal is the tests'."""

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        parts: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)
