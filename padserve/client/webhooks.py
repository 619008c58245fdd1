"""The webhooks of one server, as `client.webhooks`."""

from collections.abc import Iterator, Sequence

from padserve.client import webhook_endpoints
from padserve.client.transport import Transport
from padserve.client.webhook_endpoints import Delivery, Webhook


class Webhooks:
    """Where events are sent to: the ends of jobs and batches, signed as Standard Webhooks has it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Webhook]:
        """Every webhook of the tenant, the oldest first."""
        return self._transport.ask(webhook_endpoints.webhooks())

    def get(self, webhook_id: str) -> Webhook:
        """One webhook; its `disabled_reason` says why the server sends nothing there any more."""
        return self._transport.ask(webhook_endpoints.webhook(webhook_id))

    def add(self, url: str, *, event_types: Sequence[str] = (), description: str = "") -> Webhook:
        """Have events of these types sent to a URL, or all of them. Keep its `secret`: it is shown this once."""
        return self._transport.ask(webhook_endpoints.add(url, event_types, description))

    def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change the stated fields; None leaves a field as it is."""
        types = None if event_types is None else [*event_types]
        changes = {"url": url, "event_types": types, "description": description, "enabled": enabled}
        return self._transport.ask(webhook_endpoints.change(webhook_id, changes))

    def remove(self, webhook_id: str) -> None:
        """Send nothing there any more, and forget what was sent."""
        self._transport.ask(webhook_endpoints.remove(webhook_id))

    def rotate_secret(self, webhook_id: str) -> Webhook:
        """A new `secret`, shown this once. The old one signs beside it for 24 hours."""
        return self._transport.ask(webhook_endpoints.rotate_secret(webhook_id))

    def test(self, webhook_id: str) -> Delivery:
        """Have a test event sent; `delivery` says what became of it."""
        return self._transport.ask(webhook_endpoints.test(webhook_id))

    def delivery(self, webhook_id: str, delivery_id: int) -> Delivery:
        """One delivery: its state, and what the receiver last answered."""
        return self._transport.ask(webhook_endpoints.delivery(webhook_id, delivery_id))

    def deliveries(self, webhook_id: str, *, state: str | None = None, page_size: int = 100) -> Iterator[Delivery]:
        """The deliveries to a webhook, the newest first; pages are read as they are needed."""
        after: str | None = None
        while True:
            page = self._transport.ask(webhook_endpoints.deliveries(webhook_id, state, page_size, after))
            yield from page.data
            if (after := page.last_id) is None:
                return

    def replay(self, webhook_id: str, delivery_id: int) -> Delivery:
        """Send an event again now, whatever became of it, under the same id."""
        return self._transport.ask(webhook_endpoints.replay(webhook_id, delivery_id))
