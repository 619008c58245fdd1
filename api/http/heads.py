"""HEAD, answered wherever GET is: the same headers and no body (RFC 9110, section 9.3.2)."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _HeadSentError(OSError):
    """The answer is complete: whoever would stream its body may stop. A stream takes it for a reader that left."""


class HeadMiddleware:
    """Serves HEAD as GET and keeps the body back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; a HEAD as GET, whose body is dropped."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        is_sent = False

        async def send_head(message: Message) -> None:
            nonlocal is_sent
            scope["method"] = "HEAD"  # routing is done: the server reads here whether a body is owed
            if message["type"] != "http.response.body":
                await send(message)
                return
            if not is_sent:
                is_sent = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body", False):
                raise _HeadSentError

        scope["method"] = "GET"  # in place: the log reads from this scope which route it was
        try:
            await self.app(scope, receive, send_head)
        except (_HeadSentError, ClientDisconnect):
            if not is_sent:
                raise
        finally:
            scope["method"] = "HEAD"
