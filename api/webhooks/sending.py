"""Sending one event to its receiver: one POST, signed, bounded in time and in what is read. Follows no redirect."""

import asyncio
import datetime as dt
import ssl
import time
from importlib.metadata import version
from typing import Self

import httpcore

from api.webhooks.addresses import AddressError, CheckedNetwork
from api.webhooks.bounded import TooMuchReadError
from api.webhooks.retries import Answer, read_retry_after
from api.webhooks.signing import signed_headers
from db.queries.deliveries import ClaimedDelivery
from db.queries.events import event_name

SEND_SECONDS = 15.0
"""From the look-up of the receiver's name to the end of its answer."""
MAX_ANSWER_BYTES = 2**16
MAX_CONNECTIONS = 256
NO_ANSWER = f"The receiver did not answer within {SEND_SECONDS:g} seconds."
USER_AGENT = f"padserve/{version('padserve')}"


class Sender:
    """Sends events from one event loop. Each goes over a connection of its own; use it as an async context manager."""

    def __init__(
        self,
        *,
        allow_private: bool,
        seconds: float = SEND_SECONDS,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        self._seconds = seconds
        self._network = CheckedNetwork(allow_private=allow_private, max_connections=MAX_CONNECTIONS)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=certificates or ssl.create_default_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=self._network,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()
        self._network.close()

    async def send(self, delivery: ClaimedDelivery) -> Answer:
        """One attempt; whatever goes wrong with it is in the answer."""
        body = delivery.payload.encode()
        headers = {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            **signed_headers(event_name(delivery.event_id), int(time.time()), body, delivery.secrets),
        }
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(delivery.url, headers, body)
        except TimeoutError:
            return Answer(None, NO_ANSWER)
        except AddressError as error:
            return Answer(None, str(error))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            return Answer(None, _fault_of(error))
        except Exception as error:  # noqa: BLE001 - one receiver's oddity must not end the sending to all others
            return Answer(None, f"The event could not be sent: {type(error).__name__}.")

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        async with self._pool.stream("POST", url, headers=sent, content=body) as response:
            num_bytes = 0
            async for chunk in response.aiter_stream():
                num_bytes += len(chunk)
                if num_bytes > MAX_ANSWER_BYTES:  # nothing of it is kept anyway
                    break
            asked = {name.lower(): value for name, value in response.headers}.get(b"retry-after")
            pause = (
                None if asked is None else read_retry_after(asked.decode("latin-1").strip(), dt.datetime.now(dt.UTC))
            )
            return Answer(response.status, retry_after_seconds=pause)


def _fault_of(error: Exception) -> str:
    if isinstance(error, TooMuchReadError):
        return "The receiver's answer has no end."
    if isinstance(error, (httpcore.ConnectError, httpcore.ConnectTimeout)):
        return "No connection to the receiver could be made."
    if isinstance(error, httpcore.ProtocolError):
        return "The receiver did not answer as HTTP has it."
    return "The connection to the receiver broke."
