"""`padserve webhooks`: everything the API can do with them, from a terminal."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from api.webhooks.delivering import Deliverer
from padserve.client.async_client import AsyncClient
from tests.builders import a_job
from tests.padserve.command_line import Run
from tests.padserve.running_api import Server
from tests.webhooks.receiver import Receiver, a_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as receiver:
        yield receiver


@pytest.fixture
def delivering(server: Server) -> Iterator[None]:
    deliverer = Deliverer(server.database, allow_private=True, look_seconds=0.05)
    deliverer.start()
    yield
    deliverer.close()


def add(padserve: Run, receiver: Receiver, *flags: str) -> dict[str, str]:
    added: dict[str, str] = json.loads(padserve("webhooks", "add", receiver.url, *flags, "--json").output)
    return added


def test_a_webhook_is_added_listed_and_removed(padserve: Run, receiver: Receiver) -> None:
    shown = padserve("webhooks", "add", receiver.url, "--event", "job.completed", "--description", "Ours")
    webhook_id, secret = shown.output.split()

    listed = padserve("webhooks", "list")
    removed = padserve("webhooks", "remove", webhook_id)

    assert secret.startswith("whsec_")
    assert "cannot be shown again" in shown.errors
    assert (webhook_id in listed.output, secret in listed.output) == (True, False)
    assert (removed.exit_code, padserve("webhooks", "list").errors) == (0, "There are no webhooks.\n")


def test_a_test_says_what_the_receiver_answered(padserve: Run, receiver: Receiver, delivering: None) -> None:
    webhook_id = add(padserve, receiver)["id"]

    taken = padserve("webhooks", "test", webhook_id)
    receiver.status = 500
    refused = padserve("webhooks", "test", webhook_id)

    assert (taken.exit_code, taken.output) == (0, "delivered: 204\n")
    assert (refused.exit_code, refused.output) == (1, "pending: The receiver answered 500.\n")


def test_what_was_sent_is_listed_and_sent_again(
    padserve: Run, server: Server, receiver: Receiver, delivering: None
) -> None:
    webhook_id = add(padserve, receiver)["id"]
    a_job(server.database)
    server.decode(1)
    receiver.wait_for(1)
    (sent,) = json.loads(padserve("webhooks", "deliveries", webhook_id, "--json").output)

    again = padserve("webhooks", "replay", webhook_id, str(sent["id"]))

    first, second = receiver.wait_for(2)
    assert again.output == "delivered: 204\n"
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == sent["event_id"]
    assert "job.completed" in padserve("webhooks", "deliveries", webhook_id).output


def test_a_secret_is_rotated_and_a_webhook_disabled_and_enabled(padserve: Run, receiver: Receiver) -> None:
    added = add(padserve, receiver)

    rotated = padserve("webhooks", "rotate", added["id"])
    disabled = padserve("webhooks", "disable", added["id"])
    enabled = padserve("webhooks", "enable", added["id"])

    assert rotated.output.split()[1] not in {"", added["secret"]}
    assert disabled.output == f"{added['id']} is disabled.\n"
    assert enabled.output == f"{added['id']} is enabled.\n"


def test_the_asynchronous_client_has_the_same(server: Server, receiver: Receiver, delivering: None) -> None:
    async def scenario() -> tuple[list[str], int]:
        async with AsyncClient(server.url, server.api_key) as client:
            added = await client.webhooks.add(receiver.url, event_types=["job.expired"])
            sent = await client.webhooks.test(added.id)
            await asyncio.to_thread(receiver.wait_for, 1)
            types = [each.event_type async for each in client.webhooks.deliveries(added.id)]
            await client.webhooks.remove(added.id)
            assert sent.event_type == "webhook.test"
            return types, len(await client.webhooks.list())

    assert asyncio.run(scenario()) == (["webhook.test"], 0)
