"""Which addresses events may be sent to: public ones, so that nobody has this server ask its own network for them.

A name is resolved once, every address it has is checked, and the connection goes to one that was checked: what the name
means a moment later is never asked.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

import httpcore

from api.webhooks.bounded import BoundedStream

NOT_PUBLIC = "The address is not a public one."
NO_ADDRESS = "The host's name leads to no address."

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""Where a network has no IPv4, a translator has all of it here, an address in the last bits."""
_NOT_OF_THE_INTERNET = tuple(
    map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
)
"""What `ipaddress` takes for global, at least in some versions of Python: addresses at which clouds answer the machines
in them alone, and what IANA has set aside."""


class AddressError(Exception):
    """Nothing may be sent there; the message says why, and never which addresses there are."""


def is_public(text: str) -> bool:
    """Whether this is an address of one host of the internet; an IPv4 address in another form is none."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address in _TRANSLATED:
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    is_local = isinstance(address, ipaddress.IPv6Address) and (address.is_site_local or _leads_elsewhere(address))
    is_set_aside = any(address in network for network in _NOT_OF_THE_INTERNET)
    return address.is_global and not (address.is_multicast or address.is_reserved or is_local or is_set_aside)


async def resolve(host: str, port: int, *, allow_private: bool, threads: Executor | None = None) -> list[str]:
    """The addresses of a host, all of them checked; raises `AddressError` where one of them is not public."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(threads, ask)
    except (OSError, UnicodeError):
        raise AddressError(NO_ADDRESS) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    check(addresses, allow_private=allow_private)
    return addresses


def check(addresses: Sequence[str], *, allow_private: bool) -> None:
    """Raise `AddressError` where there is no address, or one of them is not public."""
    if not addresses:
        raise AddressError(NO_ADDRESS)
    if not allow_private and not all(map(is_public, addresses)):
        raise AddressError(NOT_PUBLIC)


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, *, allow_private: bool, max_connections: int) -> None:
        self._allow_private = allow_private
        # Of their own: a name that nobody answers for takes one for half a minute.
        self._threads = ThreadPoolExecutor(max_connections, thread_name_prefix="webhook-names")
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first of the host's addresses that takes one, bounded in what is read of it."""
        connected = await self._connected(host, port, timeout, local_address, socket_options)
        return BoundedStream(connected)

    async def _connected(
        self,
        host: str,
        port: int,
        *options: *tuple[float | None, str | None, Iterable[httpcore.SOCKET_OPTION] | None],
    ) -> httpcore.AsyncNetworkStream:
        addresses = await resolve(host, port, allow_private=self._allow_private, threads=self._threads)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, *options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, *options)

    def close(self) -> None:
        """End the threads that resolve names; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _leads_elsewhere(address: ipaddress.IPv6Address) -> bool:
    """Whether what is sent there goes to an IPv4 address, by old ways that no receiver needs."""
    return any(each is not None for each in (address.ipv4_mapped, address.sixtofour, address.teredo))
