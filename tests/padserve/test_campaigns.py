"""A campaign is previewed, rehearsed and submitted by client and command line; a preview leaves nothing."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import func, select, update

from db.models import Item, Job, Result
from db.queries import keys
from db.registry_models import Worker
from domain.states import WorkerState
from padserve import AsyncClient, AuthenticationError, Campaign, Client, InvalidRequestError
from tests.padserve.command_line import Run
from tests.padserve.running_api import Server

USERS = ("ada", "bob", "cleo", "dora")


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of a server that knows four users, of whom one has no first name."""
    with server.client() as client:
        for user_id in USERS:
            attributes = {} if user_id == "dora" else {"first_name": user_id.capitalize()}
            client.profiles.put(user_id, principles=["formal"], attributes=attributes, tags=["all", user_id])
        yield client


@contextmanager
def a_worker(server: Server, num_items: int, **fields: object) -> Iterator[None]:
    """Writes so many texts as soon as they are asked for."""

    def work() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with server.database.reading() as session:
                if session.scalars(select(func.coalesce(func.sum(Job.num_queued), 0))).one() >= num_items:
                    break
            time.sleep(0.01)
        server.decode(num_items, **fields)  # type: ignore[arg-type]

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def num_rows(server: Server) -> list[int]:
    with server.database.reading() as session:
        return [session.scalars(select(func.count()).select_from(table)).one() for table in (Job, Item, Result)]


def test_a_preview_shows_the_prompts_of_the_same_users_each_time_and_leaves_nothing(
    client: Client, server: Server
) -> None:
    campaign = Campaign("For {first_name|you}.", tags=["all"], exclude=["bob"])

    first = client.campaigns.preview(campaign, n=2)
    again = client.campaigns.preview(campaign, n=2)
    all_ = client.campaigns.preview(campaign, n=20)
    draws = {tuple(user.user_id for user in client.campaigns.preview(campaign, n=2, seed=s).data) for s in range(8)}

    assert first == again
    assert (first.num_users, len(first.data), first.complete) == (3, 2, True)
    assert [(user.user_id, user.prompt) for user in all_.data] == [
        ("ada", "For Ada."),
        ("cleo", "For Cleo."),
        ("dora", "For you."),
    ]
    assert len(draws) > 1
    assert num_rows(server) == [0, 0, 0]


def test_texts_are_written_at_once_beside_the_unguided_ones_and_not_kept(client: Client, server: Server) -> None:
    campaign = Campaign("for {first_name}", user_ids=["cleo", "ada"])

    with a_worker(server, 4):
        shown = client.campaigns.preview(campaign, texts=True, unguided=True)

    assert [(user.user_id, user.text, user.unguided_text) for user in shown.data] == [
        ("cleo", "FOR CLEO", "FOR CLEO"),
        ("ada", "FOR ADA", "FOR ADA"),
    ]
    assert shown.complete
    assert num_rows(server) == [0, 0, 0]


def test_what_is_not_written_in_time_is_missing_and_does_not_stay(client: Client, server: Server) -> None:
    with a_worker(server, 1):
        shown = client.campaigns.preview(Campaign("hi", user_ids=["ada", "bob"]), texts=True, wait_seconds=1)

    written, late = shown.data
    assert (written.text, written.error) == ("HI", None)
    assert late.text is None
    assert late.error is not None
    assert late.error.code == "not_in_time"
    assert not shown.complete
    assert num_rows(server) == [0, 0, 0]


def test_an_item_that_fails_says_so_beside_its_prompt(client: Client, server: Server) -> None:
    with a_worker(server, 1, error_code="poisoned"):
        (user,) = client.campaigns.preview(Campaign("hi", user_ids=["ada"]), texts=True).data

    assert (user.prompt, user.text, user.error and user.error.code) == ("hi", None, "poisoned")


def test_without_a_worker_prompts_are_shown_and_the_texts_not_waited_for(client: Client, server: Server) -> None:
    with server.database.transaction() as session:
        session.execute(update(Worker).values(state=WorkerState.STOPPED))

    (user,) = client.campaigns.preview(Campaign("hi", user_ids=["ada"]), texts=True).data

    assert (user.prompt, user.error and user.error.code) == ("hi", "no_worker")
    assert num_rows(server) == [0, 0, 0]


def test_a_user_without_an_attribute_is_shown_with_what_is_missing(client: Client, server: Server) -> None:
    with a_worker(server, 1):
        shown = client.campaigns.preview(Campaign("for {first_name}", user_ids=["dora", "ada"]), texts=True)

    dora, ada = shown.data
    assert (dora.prompt, dora.error and dora.error.code) == (None, "missing_attribute")
    assert (ada.text, ada.error) == ("FOR ADA", None)


@pytest.mark.parametrize(
    ("campaign", "codes"),
    [
        (Campaign("{", everyone=True), ["placeholder"]),
        (Campaign("{{first_name}}", everyone=True), ["doubled_braces"]),
        (Campaign("hi", tags=["nobody"]), ["no_items"]),
        (Campaign("hi", everyone=True, exclude=USERS), ["no_items"]),
        (Campaign("hi", user_ids=["nobody"]), ["unknown_user"]),
    ],
)
def test_what_is_wrong_for_everybody_is_refused(client: Client, campaign: Campaign, codes: list[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.campaigns.preview(campaign)

    assert [error.code for error in caught.value.errors] == codes


def test_more_than_twenty_users_and_wrong_defaults_are_refused_together(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.campaigns.preview(Campaign("hi", everyone=True), n=21, defaults={"k": 0})

    assert [error.pointer for error in caught.value.errors] == ["/n", "/defaults/k"]


def test_a_preview_needs_a_key_that_may_read_profiles(client: Client, server: Server) -> None:
    with server.database.transaction() as session:
        tenant = keys.create_tenant(session, "default")
        _, api_key = keys.create_key(session, tenant.id, "writer", ["jobs:write"])
    with Client(server.url, api_key, max_retries=0) as writer, pytest.raises(AuthenticationError):
        writer.campaigns.preview(Campaign("hi", everyone=True))


def test_the_client_rehearses_and_submits_all_that_a_campaign_can_say(client: Client, server: Server) -> None:
    campaign = Campaign("For {first_name}", tags=["all"], no_tags=["bob"], exclude=["x"], missing="skip")

    told = client.dry_run(campaign, holdout=0.5, holdout_seed=3, name="spring")
    before = num_rows(server)
    job = client.submit(campaign, holdout=0.5, holdout_seed=3, name="spring")

    assert before == [0, 0, 0]
    assert (told.num_items, told.name, told.holdout) == (2, "spring", job.holdout)
    assert told.audience == job.audience
    assert (job.name, job.num_skipped, job.counts.total) == ("spring", 1, 2)
    assert job.audience is not None
    assert job.audience.skipped[0].user_id == "dora"
    assert job.audience.unknown_excluded == ("x",)
    assert [each.id for each in client.jobs(name="spring")] == [job.id]
    assert list(client.jobs(name="autumn")) == []


def test_the_command_line_says_whose_text_has_a_default_in_it(padserve: Run, client: Client) -> None:
    prompt = "For {frist_name|a friend} {first_name|dear}"

    rehearsed = padserve("campaign", prompt, "--all", "--dry-run")
    submitted = padserve("campaign", prompt, "--all")
    told = client.dry_run(Campaign(prompt, everyone=True)).audience

    everybody = "Everybody gets the default of frist_name: nobody has a value for it. Is it spelt so?\n"
    some = "1 of 4 users get the default of first_name.\n"
    assert everybody + some in rehearsed.output
    assert everybody + some in submitted.errors
    assert told is not None
    assert [(each.attribute, each.num_users) for each in told.defaulted] == [("frist_name", 4), ("first_name", 1)]


def test_items_are_rehearsed_with_the_lines_of_their_source(client: Client) -> None:
    assert client.dry_run([{"custom_id": "a", "user_id": "ada", "prompt": "x"}], name="n").num_items == 1
    with pytest.raises(InvalidRequestError) as caught:
        client.dry_run([{"custom_id": "a", "user_id": "nobody", "prompt": "x"}], name="n")

    assert [error.line for error in caught.value.errors] == [1]


def test_the_asynchronous_client_does_the_same(client: Client, server: Server) -> None:
    campaign = Campaign("For {first_name|you}", everyone=True)

    async def ask() -> tuple[object, object]:
        async with AsyncClient(server.url, server.api_key, max_retries=0) as other:
            return await other.campaigns.preview(campaign, n=2), await other.dry_run(campaign)

    assert asyncio.run(ask()) == (client.campaigns.preview(campaign, n=2), client.dry_run(campaign))


def test_the_command_line_previews_rehearses_and_submits(padserve: Run, client: Client, server: Server) -> None:
    flags = ("--tag", "all", "--no-tag", "bob", "--exclude", "nobody", "--skip-missing")

    previewed = padserve("preview", "For {first_name|you}", *flags, "--users", "9")
    rehearsed = padserve("campaign", "For {first_name}", *flags, "--holdout", "0.5", "--name", "spring", "--dry-run")
    before = num_rows(server)
    submitted = padserve("campaign", "For {first_name}", *flags, "--holdout", "0.5", "--name", "spring")
    listed = padserve("jobs", "--name", "spring", "--json")

    assert (previewed.exit_code, rehearsed.exit_code, submitted.exit_code) == (0, 0, 0)
    assert previewed.output.split("\n")[:2] == ["ada:", "  For Ada"]
    assert "These are 3 of 3 users." in previewed.errors
    assert "2 items for hub/tiny-model; nothing was stored." in rehearsed.output
    assert "Not known: no worker" not in rehearsed.output
    assert before == [0, 0, 0]
    assert "1 users are skipped, who lack an attribute: dora (first_name)." in submitted.errors
    assert "1 users to exclude have no profile: nobody." in submitted.errors
    assert [job["id"] for job in json.loads(listed.output)] == [submitted.output.strip()]


def test_the_command_line_shows_texts_and_ends_with_1_where_one_is_missing(
    padserve: Run, client: Client, server: Server
) -> None:
    with a_worker(server, 2):
        shown = padserve("preview", "for {first_name}", "--user", "ada", "--unguided")
    missing = padserve("preview", "for {first_name}", "--user", "dora", "--json")

    assert shown.exit_code == 0
    assert "ada, the text:\n  FOR ADA" in shown.output
    assert "ada, unguided:\n  FOR ADA" in shown.output
    assert (missing.exit_code, json.loads(missing.output)["data"][0]["error"]["code"]) == (1, "missing_attribute")


def test_a_preview_whose_client_has_gone_does_not_stay(client: Client, server: Server) -> None:
    body = {"prompt": "hi", "audience": {"all": True}, "texts": True, "wait_seconds": 300}
    headers = {"Authorization": f"Bearer {server.api_key}"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/campaigns/preview", json=body, headers=headers, timeout=1.0)

    until = time.monotonic() + 20
    while num_rows(server) != [0, 0, 0] and time.monotonic() < until:
        time.sleep(0.05)
    assert num_rows(server) == [0, 0, 0]
