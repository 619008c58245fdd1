"""A TCP proxy in front of a server that can stop forwarding, while both connections stay open and acknowledged."""

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class SwallowingProxy:
    """Forwards from `port` to what `connect` reaches, until it is told to swallow."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._forwarding = threading.Event()
        self._forwarding.set()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on nothing arrives any more, on connections old and new."""
        self._forwarding.clear()

    def forward(self) -> None:
        """New connections work again; what the old ones were sent meanwhile is lost for good."""
        self._forwarding.set()

    def close(self) -> None:
        """End every connection."""
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._open += [client, server]
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """Until one of the two ends; a pair that was ever swallowed from stays silent."""
        is_swallowed = False
        with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source: socket.socket = key.fileobj  # type: ignore[assignment]
                    data = source.recv(65536)
                    is_swallowed = is_swallowed or not self._forwarding.is_set()
                    if not data and is_swallowed and source is server:
                        selector.unregister(server)  # that it has hung up does not arrive either
                    elif not data:
                        client.close()
                        server.close()
                        return
                    elif not is_swallowed:
                        key.data.sendall(data)


@contextmanager
def swallowing_proxy(connect: Callable[[], socket.socket]) -> Iterator[SwallowingProxy]:
    """Closed with the block."""
    proxy = SwallowingProxy(connect)
    try:
        yield proxy
    finally:
        proxy.close()


def connect_to_postgresql(host: str, port: int) -> Callable[[], socket.socket]:
    """To a server by its address, or by the folder of its socket."""

    def connect() -> socket.socket:
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(f"{host}/.s.PGSQL.{port}")
        return unix

    return connect
