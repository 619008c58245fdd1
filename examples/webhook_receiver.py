"""A receiver of padserve's events that believes none whose signature it has not verified. Standard library only.

    padserve webhooks add https://example.com/padserve        # shows the secret, this once
    PADSERVE_WEBHOOK_SECRET=whsec_... python examples/webhook_receiver.py 8080

For a receiver on this machine, start the server with PADSERVE_WEBHOOK_PRIVATE_ADDRESSES=true and add
http://127.0.0.1:8080/.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE_SECONDS = 300
MAX_BODY_BYTES = 2**20
NUM_REMEMBERED = 10_000


class NotVerifiedError(Exception):
    """The request is not padserve's, or is an old one that somebody has kept."""


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> dict[str, Any]:
    """The event, as Standard Webhooks has it; raises `NotVerifiedError` for whatever else it may be."""
    named = {name.lower(): value for name, value in headers.items()}
    event_id, timestamp = named.get("webhook-id", ""), named.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise NotVerifiedError("It was not sent just now.")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = f"v1,{base64.b64encode(signed).decode()}"
    # One signature for each secret that is valid: after a rotation there are two for a day.
    if not any(hmac.compare_digest(expected, given) for given in named.get("webhook-signature", "").split()):
        raise NotVerifiedError("The signature is another.")
    event: dict[str, Any] = json.loads(body)
    return event


def serve(port: int, secret: str, on_event: Callable[[dict[str, Any]], None]) -> ThreadingHTTPServer:
    """A server that hands each event on once; `serve_forever` runs it."""
    seen: OrderedDict[str, None] = OrderedDict()  # a real one keeps them where a restart does not lose them

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take one event."""
            num_bytes = int(self.headers.get("content-length") or 0)
            if num_bytes > MAX_BODY_BYTES:
                self._answer(413)
                return
            body = self.rfile.read(num_bytes)
            try:
                event = verify(dict(self.headers.items()), body, secret, time.time())
            except NotVerifiedError:
                self._answer(401)
                return
            if event["id"] not in seen:  # an event may come twice
                on_event(event)
                seen[event["id"]] = None
                if len(seen) > NUM_REMEMBERED:
                    seen.popitem(last=False)
            self._answer(204)  # soon: what takes long is done elsewhere, or the event comes once more

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: events are printed."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def show(event: dict[str, Any]) -> None:
    """Print one event."""
    print(event["type"], json.dumps(event["data"]), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or "PADSERVE_WEBHOOK_SECRET" not in os.environ:  # noqa: PLR2004 - the program and a port
        sys.exit("Usage: PADSERVE_WEBHOOK_SECRET=whsec_... python examples/webhook_receiver.py 8080")
    with serve(int(sys.argv[1]), os.environ["PADSERVE_WEBHOOK_SECRET"], show) as server:
        print(f"Listening on http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()
