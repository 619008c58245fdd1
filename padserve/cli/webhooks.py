"""`padserve webhooks ...`: where the server sends word of the ends of jobs and batches, and what became of it."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from padserve.cli.context import CommandContext, context_of
from padserve.cli.display import say, show, show_json, show_table
from padserve.cli.options import AsJson

if TYPE_CHECKING:
    from padserve.client.client import Client
    from padserve.client.webhook_endpoints import Delivery, Webhook

FAILED = 1
LOOK_SECONDS = 0.3
NUM_LOOKS = 100
KEEP = "Keep the secret: it verifies what is sent, and cannot be shown again."

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id.")]
DeliveryId = Annotated[int, typer.Argument(metavar="DELIVERY", help="As `webhooks deliveries` lists it.")]

app = typer.Typer(help="Have your own server told when a job has ended.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List webhooks, and whether they work."""
    given = context_of(context)
    with given.client() as client:
        found = client.webhooks.list()
    if as_json:
        show_json(given.answers, found)
    elif found:
        show_table(given.answers, ("webhook", "state", "url"), [(each.id, _state(each), each.url) for each in found])
        for each in found:
            if each.disabled_reason is not None:
                say(given.notes, f"{each.id} is disabled: {each.disabled_reason}")
    else:
        say(given.notes, "There are no webhooks.")


@app.command()
def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Where events are posted to.")],
    *,
    event: Annotated[
        list[str] | None,
        typer.Option(help="job.completed, job.cancelled, job.expired, batch.completed, ...; may be repeated. All."),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Have events sent to a URL; shows the secret that signs them, this once."""
    given = context_of(context)
    with given.client() as client:
        added = client.webhooks.add(url, event_types=event or (), description=description)
    _show_with_secret(given, added, as_json=as_json)


@app.command()
def rotate(context: typer.Context, webhook_id: WebhookId, *, as_json: AsJson = False) -> None:
    """Give a webhook a new secret, shown this once; the old one signs beside it for 24 hours."""
    given = context_of(context)
    with given.client() as client:
        rotated = client.webhooks.rotate_secret(webhook_id)
    _show_with_secret(given, rotated, as_json=as_json)


@app.command("test")
def send_test(context: typer.Context, webhook_id: WebhookId, *, as_json: AsJson = False) -> None:
    """Have a test event sent, and say what the receiver answered; exit code 1 if it was not taken."""
    given = context_of(context)
    with given.client() as client:
        sent = client.webhooks.test(webhook_id)
        _show_outcome(given, client, webhook_id, sent, as_json=as_json)


@app.command()
def deliveries(
    context: typer.Context,
    webhook_id: WebhookId,
    *,
    state: Annotated[str | None, typer.Option(help="Only pending, delivered or failed ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was sent, the newest first."""
    given = context_of(context)
    with given.client() as client:
        newest = client.webhooks.deliveries(webhook_id, state=state, page_size=min(limit, 100))
        found = list(islice(newest, limit))
    if as_json:
        show_json(given.answers, found)
    elif found:
        rows = [(str(each.id), each.event_type, each.state, _said(each)) for each in found]
        show_table(given.answers, ("delivery", "event", "state", "answer"), rows)
    else:
        say(given.notes, "Nothing was sent there.")


@app.command()
def replay(context: typer.Context, webhook_id: WebhookId, delivery_id: DeliveryId, *, as_json: AsJson = False) -> None:
    """Send an event again, under the same id, and say what the receiver answered."""
    given = context_of(context)
    with given.client() as client:
        sent = client.webhooks.replay(webhook_id, delivery_id)
        _show_outcome(given, client, webhook_id, sent, as_json=as_json)


@app.command()
def enable(context: typer.Context, webhook_id: WebhookId, *, as_json: AsJson = False) -> None:
    """Send events there again; those that still wait go out now."""
    given = context_of(context)
    with given.client() as client:
        changed = client.webhooks.change(webhook_id, enabled=True)
    show(given.answers, changed, f"{changed.id} is {_state(changed)}.", as_json=as_json)


@app.command()
def disable(context: typer.Context, webhook_id: WebhookId, *, as_json: AsJson = False) -> None:
    """Send nothing there until it is enabled."""
    given = context_of(context)
    with given.client() as client:
        changed = client.webhooks.change(webhook_id, enabled=False)
    show(given.answers, changed, f"{changed.id} is {_state(changed)}.", as_json=as_json)


@app.command()
def remove(context: typer.Context, webhook_id: WebhookId, *, as_json: AsJson = False) -> None:
    """Remove a webhook with its log."""
    given = context_of(context)
    with given.client() as client:
        client.webhooks.remove(webhook_id)
    if as_json:
        show_json(given.answers, {"id": webhook_id, "deleted": True})
    else:
        say(given.notes, f"{webhook_id} is removed.")


def _show_with_secret(given: CommandContext, webhook: "Webhook", *, as_json: bool) -> None:
    show(given.answers, webhook, f"{webhook.id} {webhook.secret}", as_json=as_json)
    say(given.notes, KEEP)


def _show_outcome(given: CommandContext, client: "Client", webhook_id: str, sent: "Delivery", *, as_json: bool) -> None:
    outcome = sent
    for outcome in _looks(client, webhook_id, sent):
        if outcome.state != "pending" or (outcome.attempts > sent.attempts and _said(outcome) != ""):
            break
    show(given.answers, outcome, f"{outcome.state}: {_said(outcome) or 'not sent yet'}", as_json=as_json)
    if outcome.state != "delivered":
        raise typer.Exit(FAILED)


def _looks(client: "Client", webhook_id: str, sent: "Delivery") -> "Iterator[Delivery]":
    """The delivery as it is, again and again for half a minute."""
    for _ in range(NUM_LOOKS):
        time.sleep(LOOK_SECONDS)
        yield client.webhooks.delivery(webhook_id, sent.id)


def _state(webhook: "Webhook") -> str:
    if not webhook.enabled:
        return "disabled"
    return "enabled" if webhook.failing_since is None else "failing"


def _said(delivery: "Delivery") -> str:
    return delivery.fault or ("" if delivery.status_code is None else str(delivery.status_code))
