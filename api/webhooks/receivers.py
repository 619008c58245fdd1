"""Which URLs a webhook may name. Asked when it is named; `api.webhooks.addresses` asks again of each connection."""

import asyncio
import re

import httpx

from api.http.errors import InvalidRequestError, LineError
from api.webhooks.addresses import AddressError, resolve
from db.webhook_models import MAX_URL_CHARACTERS

RESOLVE_SECONDS = 5.0
PORTS = {"https": 443, "http": 80}
MAX_PORT = 65_535
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")


async def checked_receiver(url: str, *, allow_private: bool) -> str:
    """The URL in its canonical form; raises `InvalidRequestError` where events cannot, or must not, be sent to it."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise _refusal("Must be a URL.") from None
    allowed = PORTS if allow_private else {"https"}
    if parsed.scheme not in allowed:
        raise _refusal("Must begin with https://.")
    host = parsed.raw_host.decode("ascii", "replace")
    port = parsed.port or PORTS[parsed.scheme]
    if not _HOST.fullmatch(host) or not 0 < port <= MAX_PORT or parsed.port == 0:
        raise _refusal("Must name a host.")
    if parsed.userinfo or parsed.fragment:
        raise _refusal("Must have no user name, password or fragment: the signature says who sends.")
    canonical = str(parsed)
    if len(canonical) > MAX_URL_CHARACTERS:
        raise _refusal(f"At most {MAX_URL_CHARACTERS} characters are allowed.")
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            await resolve(host, port, allow_private=allow_private)
    except AddressError as error:
        raise _refusal(str(error)) from None
    except TimeoutError:
        raise _refusal("The host's name could not be looked up in time.") from None
    return canonical


def _refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(errors=[LineError("webhook_url", message, "/url")])
