"""The machine's certificates are read once and not for every client: tests make thousands, and hardly one speaks TLS.

To read them takes longer than most tests.
"""

import ssl
from functools import cache


def share_certificates() -> None:
    """From now on whoever asks in this process gets the context that was made for the first; nobody may change it."""
    setattr(ssl, "create_default_context", cache(ssl.create_default_context))  # noqa: B010 - assigning needs an ignore
