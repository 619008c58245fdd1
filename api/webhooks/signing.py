"""Signatures of Standard Webhooks: HMAC-SHA256 over id, moment and body, by every secret that is valid."""

import base64
import hashlib
import hmac
from collections.abc import Iterable

from db.queries.webhooks import SECRET_PREFIX


def signed_headers(event_name: str, timestamp: int, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """What proves to a receiver who sent the body, and when: each secret has a signature of its own."""
    return {
        "webhook-id": event_name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(event_name, timestamp, body, secret) for secret in secrets),
    }


def _signature(event_name: str, timestamp: int, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{event_name}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
