"""Addresses on this machine: free ports, and the URL under which a bound address is reached from here."""

import errno
import socket

from padserve.errors import StackError

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - named here, bound nowhere


def claim_port(host: str, port: int) -> int:
    """The port if it can be bound now, or a free one for 0; raises `StackError` where it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StackError(
                f"Port {port} on {host} is in use: free it, or choose another with PADSERVE_PORT."
            ) from error
        raise StackError(f"Cannot listen on {host}:{port} (PADSERVE_HOST, PADSERVE_PORT): {error.strerror}.") from error
    except UnicodeError as error:
        raise StackError(f"Cannot listen on {host} (PADSERVE_HOST): that is no address.") from error


def url_of(host: str, port: int) -> str:
    """Where a server bound to `host` is reached from this machine."""
    near = _ANY_ADDRESS.get(host, host)
    return f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"
