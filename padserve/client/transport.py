"""Requests over HTTP: which are tried again and when, and how a refusal becomes an exception. Knows no resource."""

import ipaddress
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import httpx

from padserve.errors import (
    ApiError,
    LineError,
    PadserveError,
    SettingsError,
    SourceError,
    UnreachableError,
    UnreadableAnswerError,
    error_for,
)

if TYPE_CHECKING:
    from padserve.client.endpoints import Ask

Answer = TypeVar("Answer")

USER_AGENT = "padserve-python"
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5.0
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
REPEATABLE_METHODS = frozenset({"GET", "PUT", "PATCH", "DELETE"})  # our patches are merge patches
IDEMPOTENCY_KEY = "Idempotency-Key"

OpenBody = Callable[[], Iterable[bytes]]
Param = str | int | bool
Params = Mapping[str, Param | list[str]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, in a form that can be sent more than once."""

    method: str
    path: str
    params: Params = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    open_body: OpenBody | None = None
    repeats_safely: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.repeats_safely or self.method in REPEATABLE_METHODS or IDEMPOTENCY_KEY in self.headers

    @property
    def sent(self) -> tuple[dict[str, str], bytes | Iterable[bytes] | None]:
        """The headers and the body, checked: what cannot be sent is a `SourceError`."""
        headers = {name: header_text(name, value) for name, value in self.headers.items()}
        if self.json is None:
            return headers, None if self.open_body is None else self.open_body()
        try:
            content = json.dumps(self.json, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:  # also text that is no Unicode
            raise SourceError(
                "What is to be sent is not JSON: a number is infinite or none, or a text broken."
            ) from error
        return {"Content-Type": "application/json", **headers}, content


class Transport:
    """One server and one API key. Tries again what is safe to try again."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_seconds: float,
        max_retries: int,
        http: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = checked_url(url)
        self._max_retries = max_retries
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=self.url,
            headers=headers_with(api_key),
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
            transport=http,
            trust_env=not is_on_this_machine(self.url),  # a proxy knows no way back to here
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def request(self, call: Call) -> httpx.Response:
        """Make a call and read its whole answer; raises `ApiError` or `UnreachableError`."""
        with self.stream(call) as response:
            response.read()
            return response

    def ask(self, ask: "Ask[Answer]") -> Answer:
        """Make the call and read its answer; raises `ApiError` where the server refuses."""
        content = self.request(ask.call).content
        with read_from(self.url):
            return ask.read(content)

    @contextmanager
    def stream(self, call: Call) -> Iterator[httpx.Response]:
        """The answer as soon as its headers are here; its body is still to be read."""
        response = self._send(call)
        try:
            yield response
        except httpx.RequestError as error:
            raise broken(self.url, error) from error
        finally:
            response.close()

    def lines(self, call: Call, *, check: Callable[[httpx.Headers], None] | None = None) -> Iterator[str]:
        """The answer's lines as they arrive. Only a line feed ends one: JSON texts may hold other separators.

        `check` sees the headers first, and may raise.
        """
        rest = b""
        with self.stream(call) as response:
            if check is not None:
                check(response.headers)
            for chunk in response.iter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield line_text(self.url, line)
        if rest:
            raise UnreachableError(f"The connection to {self.url} broke in the middle of a line.")

    def chunks(self, call: Call, *, check: Callable[[httpx.Headers], None] | None = None) -> Iterator[bytes]:
        """The answer's bytes as they arrive; `check` as for `lines`."""
        with self.stream(call) as response:
            if check is not None:
                check(response.headers)
            yield from response.iter_bytes()

    def _send(self, call: Call) -> httpx.Response:
        pauses = pauses_between(self._max_retries)
        while True:
            pause = next(pauses)
            try:
                response = self._http.send(self._build(call), stream=True)
            except httpx.TransportError as error:
                if pause is None or not (call.is_repeatable or isinstance(error, httpx.ConnectError)):
                    raise UnreachableError(f"No answer from {self.url}: {reason_of(error)}.") from error
                self._sleep(pause)
                continue
            if response.is_success:
                return response
            waits = retry_after(response, pause)
            with suppress(httpx.RequestError):
                response.read()  # which also gives the connection back
            response.close()
            if waits is None:
                raise refusal(response)
            self._sleep(waits)

    def _build(self, call: Call) -> httpx.Request:
        headers, content = call.sent
        return self._http.build_request(
            call.method, call.path, params=dict(call.params), headers=headers, content=content
        )


@contextmanager
def read_from(url: str) -> Iterator[None]:
    """A block that reads an answer: what in it is not as it should be becomes `UnreadableAnswerError`."""
    try:
        yield
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UnreadableAnswerError(
            f"The answer from {url} cannot be read: is it the address of a padserve server?"
        ) from error


def line_text(url: str, line: bytes) -> str:
    """A line of an answer; raises `UnreadableAnswerError` where it is no text."""
    with read_from(url):
        return line.decode()


def broken(url: str, error: httpx.RequestError) -> PadserveError:
    """The exception for an answer that did not come to its end: its connection broke, or it cannot be decompressed."""
    if isinstance(error, httpx.TransportError):
        return UnreachableError(f"The connection to {url} broke: {reason_of(error)}.")
    return UnreadableAnswerError(f"The answer from {url} cannot be unpacked: is a proxy in between?")


def pauses_between(max_retries: int) -> Iterator[float | None]:
    """Seconds to wait after each attempt, doubling, with jitter; None after the last."""
    for attempt in range(max_retries):
        yield min(FIRST_PAUSE_SECONDS * 2**attempt, MAX_PAUSE_SECONDS) * random.uniform(0.75, 1.0)
    yield None


def retry_after(response: httpx.Response, pause: float | None) -> float | None:
    """Seconds to wait before the next attempt, as the answer asks, else `pause`; None when there shall be none."""
    says = response.headers.get("x-should-retry")
    retried = response.status_code in RETRIED_STATUSES or says == "true"
    if pause is None or says == "false" or not retried:
        return None
    try:
        asked = float(response.headers.get("retry-after", pause))
    except ValueError:
        return pause  # a date: the back-off will do
    return max(asked, 0.0) if asked <= MAX_RETRY_AFTER_SECONDS else None


def refusal(response: httpx.Response) -> ApiError:
    """The exception for a problem document, or for whatever else came in its place."""
    try:
        body = response.json()
    except (ValueError, RecursionError, httpx.StreamError):  # it is no JSON, or did not come whole
        body = None
    problem = body if isinstance(body, dict) else {}
    errors = problem.get("errors")
    return error_for(response.status_code)(
        str(problem.get("detail") or f"The server answered {response.status_code} {response.reason_phrase}."),
        status=response.status_code,
        code=str(problem.get("code") or f"http_{response.status_code}"),
        errors=tuple(_line_error(entry) for entry in errors if isinstance(entry, dict))
        if isinstance(errors, list)
        else (),
        num_errors=problem.get("num_errors"),
        request_id=response.headers.get("x-request-id"),
    )


def _line_error(entry: Mapping[str, object]) -> LineError:
    line, pointer, code = entry.get("line"), entry.get("pointer"), entry.get("code")
    return LineError(
        message=str(entry.get("message", "")),
        line=line if isinstance(line, int) else None,
        pointer=str(pointer) if pointer else None,
        code=str(code) if code else None,
    )


def reason_of(error: httpx.TransportError) -> str:
    """Why no answer came, in words that quote nothing that was sent: the key is in a header."""
    if isinstance(error, httpx.LocalProtocolError):
        return "the request cannot be sent"  # its text quotes headers, and one of them is the key
    return str(error).rstrip(".") or type(error).__name__


def headers_with(api_key: str) -> dict[str, str]:
    """The headers of every request: the key, checked by `header_text`, and who sends it."""
    return {"Authorization": f"Bearer {header_text('The API key', api_key)}", "User-Agent": USER_AGENT}


def header_text(name: str, text: str) -> str:
    """`text` stripped, if it is printable ASCII; else `SettingsError`, which says where and never quotes it."""
    stripped = text.strip()
    for place, character in enumerate(stripped, start=1):
        if not " " <= character <= "~":
            raise SettingsError(f"{name} cannot be sent: its character {place} is not printable ASCII.")
    return stripped


def checked_url(url: str) -> str:
    """The address of a server without the last slash; raises `SettingsError` where it is none."""
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise SettingsError(f"{url!r} is not the address of a server: {error}.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise SettingsError(f"{url!r} is not the address of a server: write http:// or https:// and its name.")
    return url.strip().rstrip("/")


def is_on_this_machine(url: str) -> bool:
    """Whether an address leads back to here, as far as its name tells."""
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
