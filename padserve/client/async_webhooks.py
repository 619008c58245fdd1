"""The webhooks of one server, as `client.webhooks` of an `AsyncClient`."""

from collections.abc import AsyncIterator, Sequence

from padserve.client import webhook_endpoints
from padserve.client.async_transport import AsyncTransport
from padserve.client.webhook_endpoints import Delivery, Webhook


class AsyncWebhooks:
    """Where events are sent to: the ends of jobs and batches, signed as Standard Webhooks has it."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[Webhook]:
        """All there are, the oldest first."""
        return await self._transport.ask(webhook_endpoints.webhooks())

    async def get(self, webhook_id: str) -> Webhook:
        """One of them; `disabled_reason` says why the server sends nothing there any more."""
        return await self._transport.ask(webhook_endpoints.webhook(webhook_id))

    async def add(self, url: str, *, event_types: Sequence[str] = (), description: str = "") -> Webhook:
        """Have events of these types sent to a URL, or all of them. Keep its `secret`: it is shown this once."""
        return await self._transport.ask(webhook_endpoints.add(url, event_types, description))

    async def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change what is said, and leave the rest."""
        types = None if event_types is None else [*event_types]
        changes = {"url": url, "event_types": types, "description": description, "enabled": enabled}
        return await self._transport.ask(webhook_endpoints.change(webhook_id, changes))

    async def remove(self, webhook_id: str) -> None:
        """Send nothing there any more, and forget what was sent."""
        await self._transport.ask(webhook_endpoints.remove(webhook_id))

    async def rotate_secret(self, webhook_id: str) -> Webhook:
        """A new `secret`, shown this once. The old one signs beside it for 24 hours."""
        return await self._transport.ask(webhook_endpoints.rotate_secret(webhook_id))

    async def test(self, webhook_id: str) -> Delivery:
        """Have a test event sent; `delivery` says what became of it."""
        return await self._transport.ask(webhook_endpoints.test(webhook_id))

    async def delivery(self, webhook_id: str, delivery_id: int) -> Delivery:
        """What became of one event."""
        return await self._transport.ask(webhook_endpoints.delivery(webhook_id, delivery_id))

    async def deliveries(
        self, webhook_id: str, *, state: str | None = None, page_size: int = 100
    ) -> AsyncIterator[Delivery]:
        """The log, the newest first; pages are read as they are needed."""
        after: str | None = None
        while True:
            page = await self._transport.ask(webhook_endpoints.deliveries(webhook_id, state, page_size, after))
            for each in page.data:
                yield each
            if (after := page.last_id) is None:
                return

    async def replay(self, webhook_id: str, delivery_id: int) -> Delivery:
        """Send an event again now, whatever became of it, under the same id."""
        return await self._transport.ask(webhook_endpoints.replay(webhook_id, delivery_id))
