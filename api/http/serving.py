"""The server, as uvicorn has it, that lets listeners go when it stops: a stream without an end must not hold it up."""

import socket

import uvicorn

from api.streams.listening import Listeners


class ListeningServer(uvicorn.Server):
    """Ends every stream of events first, and then waits for the other requests."""

    def __init__(self, config: uvicorn.Config, listeners: Listeners) -> None:
        super().__init__(config)
        self._listeners = listeners

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is under way."""
        self._listeners.stop()
        await super().shutdown(sockets)
