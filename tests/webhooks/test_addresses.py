"""Nobody has this server ask its own network: all that a name leads to is checked, and only that is connected to."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpcore
import pytest

from api.http.errors import InvalidRequestError
from api.webhooks.addresses import AddressError, CheckedNetwork, is_public
from api.webhooks.receivers import checked_receiver

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::808:808"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1"),  # noqa: S104 - nothing is bound
    "169.254.169.254",
    *("100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.7"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1"),
    *(
        "::ffff:8.8.8.8",
        "2002:808:808::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
    ),
    *("168.63.129.16", "192.0.0.192", "192.0.0.9", "192.88.99.1", "64:ff9b::a83f:8110", "3fff::1"),
    *("64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::", "100::1", "2001::1"),
]
REBINDING = [["93.184.215.14"], ["127.0.0.1"]]
Resolver = Callable[..., None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[list[str]]], list[str]]:
    """Has names lead to these addresses, one answer after the other, the last again and again."""

    def answer(answers: list[list[str]]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
            found = answers[min(len(asked), len(answers) - 1)]
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return answer


class RecordingNetwork(httpcore.AsyncMockBackend):
    """Connects to nothing, and notes to what it would have."""

    def __init__(self, *unreachable: str) -> None:
        super().__init__([])
        self.connected: list[str] = []
        self._unreachable = unreachable

    async def connect_tcp(self, host: str, port: int, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - httpcore's
        self.connected.append(host)
        if host in self._unreachable:
            raise httpcore.ConnectError
        return await super().connect_tcp(host, port, *rest, **more)


def connect(network: CheckedNetwork, monkeypatch: pytest.MonkeyPatch, *unreachable: str) -> list[str]:
    """The addresses to which a connection is tried."""
    recording = RecordingNetwork(*unreachable)
    monkeypatch.setattr(network, "_network", recording)
    try:
        asyncio.run(network.connect_tcp("receiver.example", 443))
    finally:
        network.close()
    return recording.connected


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_one(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_of_no_single_public_host_is_none(address: str) -> None:
    assert not is_public(address)


def test_the_connection_goes_to_the_address_that_was_checked(
    names: Callable[[list[list[str]]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = names(REBINDING)

    connected = connect(CheckedNetwork(allow_private=False, max_connections=1), monkeypatch)

    assert (connected, asked) == (["93.184.215.14"], ["receiver.example"])


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_that_leads_to_a_private_address_as_well_is_refused(
    names: Callable[[list[list[str]]], list[str]], monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    names([["93.184.215.14", "10.0.0.1"][::order]])

    with pytest.raises(AddressError, match="not a public one"):
        connect(CheckedNetwork(allow_private=False, max_connections=1), monkeypatch)
    with pytest.raises(InvalidRequestError) as refused:
        asyncio.run(checked_receiver("https://receiver.example/", allow_private=False))
    assert refused.value.errors[0].message == "The address is not a public one."


def test_a_name_whose_address_changes_is_refused_at_the_connection(
    names: Callable[[list[list[str]]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names(REBINDING)
    asyncio.run(checked_receiver("https://receiver.example/", allow_private=False))

    with pytest.raises(AddressError):
        connect(CheckedNetwork(allow_private=False, max_connections=1), monkeypatch)


def test_where_the_first_address_takes_no_connection_the_next_is_tried(
    names: Callable[[list[list[str]]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names([["93.184.215.14", "8.8.8.8"]])

    network = CheckedNetwork(allow_private=False, max_connections=1)

    assert connect(network, monkeypatch, "93.184.215.14") == ["93.184.215.14", "8.8.8.8"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://8.8.8.8/", "Must begin with https://."),
        ("ftp://8.8.8.8/", "Must begin with https://."),
        ("https:///x", "Must name a host."),
        ("https://a b/", "Must name a host."),
        ("https://8.8.8.8:0/", "Must name a host."),
        ("https://8.8.8.8:99999/", "Must name a host."),
        ("https://me:secret@8.8.8.8/", "Must have no user name, password or fragment: the signature says who sends."),
        ("https://8.8.8.8/#here", "Must have no user name, password or fragment: the signature says who sends."),
        ("https://8.8.8.8/\x00", "Must be a URL."),
        ("https://localhost/", "The address is not a public one."),
        ("https://127.1/", "The address is not a public one."),
        ("https://2130706433/", "The address is not a public one."),
        ("https://0x7f.1/", "The address is not a public one."),
        ("https://[::1]/", "The address is not a public one."),
        ("https://[::ffff:10.0.0.1]/", "The address is not a public one."),
        ("https://169.254.169.254/latest/meta-data", "The address is not a public one."),
        ("https://nobody.invalid/", "The host's name leads to no address."),
    ],
)
def test_a_url_that_must_not_be_named_is_refused_with_a_reason(url: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        asyncio.run(checked_receiver(url, allow_private=False))

    assert [(error.pointer, error.message) for error in refused.value.errors] == [("/url", message)]


def test_a_public_url_is_taken_in_its_canonical_form() -> None:
    assert asyncio.run(checked_receiver("HTTPS://8.8.8.8/a b", allow_private=False)) == "https://8.8.8.8/a%20b"


def test_for_development_private_addresses_are_allowed() -> None:
    assert asyncio.run(checked_receiver("http://127.0.0.1:9/", allow_private=True)) == "http://127.0.0.1:9/"
