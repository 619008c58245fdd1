"""What a request asks for is what is decoded: parameters mean what they mean at Anthropic, and users have profiles."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from tests.anthropic.conftest import Connect, a_key
from tests.anthropic.requests import a_batch, a_request, items_of, preference_of, results_of
from tests.openai.conftest import ALIAS, Site, a_site

DEFAULTS = {"k": 0, "temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 50}


def test_what_is_not_said_is_what_it_is_at_anthropic(site: Site, client: Anthropic) -> None:
    (item,) = items_of(site, a_batch(client, a_request(model=ALIAS)))

    assert {name: item.sampling[name] for name in DEFAULTS} == DEFAULTS
    assert (item.sampling["n"], item.sampling["presence_penalty"], item.sampling["stop"]) == (1, 0, [])


def test_requests_of_a_batch_differ(site: Site, client: Anthropic) -> None:
    first, second = items_of(site, a_batch(client, a_request("a"), a_request("b")))

    assert first.sampling["seed"] != second.sampling["seed"]
    assert (first.custom_id, second.custom_id) == ("a", "b")


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ({"temperature": 0.0}, "temperature", 0),
        ({"temperature": 1}, "temperature", 1),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"top_k": 5}, "k", 5),
        ({"stop_sequences": ["END", "\n\n"]}, "stop", ["END", "\n\n"]),
        ({"stop_sequences": []}, "stop", []),
        ({"max_tokens": 7}, "max_tokens", 7),
        ({"seed": 3}, "seed", 3),
        ({"min_p": 0.1}, "min_p", 0.1),
    ],
    ids=str,
)
def test_what_is_said_is_passed_on(
    site: Site, client: Anthropic, said: dict[str, Any], name: str, value: object
) -> None:
    (item,) = items_of(site, a_batch(client, a_request(**said)))

    assert item.sampling[name] == value


def test_what_changes_nothing_is_passed_over(site: Site, client: Anthropic) -> None:
    harmless: dict[str, Any] = {
        "stream": False,
        "tools": [],
        "tool_choice": {"type": "none"},
        "thinking": {"type": "disabled"},
        "service_tier": "auto",
        "cache_control": {"type": "ephemeral"},
        "metadata": {"user_id": None},
        "diagnostics": {"previous_message_id": None},
        "speed": "standard",
    }

    assert len(items_of(site, a_batch(client, a_request(**harmless)))) == 1


def test_a_conversation_is_kept_in_its_turns(site: Site, client: Anthropic) -> None:
    system = [
        {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "be kind"},
    ]
    messages = [
        {"role": "user", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "yes", "citations": None}]},
        {"role": "user", "content": "go on"},
    ]

    (item,) = items_of(site, a_batch(client, a_request(system=system, messages=messages)))

    assert item.messages == [
        {"role": "system", "content": "be brief\nbe kind"},
        {"role": "user", "content": "one\ntwo\nthree"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go on"},
    ]


def test_an_answer_can_be_given_back_as_it_came(site: Site, client: Anthropic) -> None:
    batch = a_batch(client)
    site.decode(1)
    (result,) = results_of(client, batch)
    assert result.result.type == "succeeded"
    answer = result.result.message
    messages = [
        {"role": "user", "content": "write about tea"},
        {"role": answer.role, "content": answer.content},
        {"role": "user", "content": "go on"},
    ]

    (item,) = items_of(site, a_batch(client, a_request(messages=messages)))

    assert item.messages[1] == {"role": "assistant", "content": "WRITE ABOUT TEA"}


@pytest.mark.parametrize(
    "named",
    [
        {"metadata": {"user_id": "ada"}},
        {"metadata": {"user_id": " ada "}},
        {"user": "ada"},
        {"user_profile_id": "ada"},
        {"user": "ada", "metadata": {"user_id": "bob"}},
        {"metadata": {"user_id": "ada"}, "user_profile_id": "bob"},
    ],
    ids=str,
)
def test_a_user_is_steered_by_the_profile(site: Site, connect: Connect, tenant: str, named: dict[str, Any]) -> None:
    site.give_profile(tenant, "ada", "humor")

    (item,) = items_of(site, a_batch(connect(tenant), a_request(**named)))

    assert (item.user_id, item.profile_version) == ("ada", 1)
    assert preference_of(site, item)["principles"] == [["humor", 1.0]]


def test_the_header_names_whom_all_are_for_that_name_nobody(site: Site, connect: Connect, tenant: str) -> None:
    site.give_profile(tenant, "ada", "humor")
    site.give_profile(tenant, "bob", "formal")
    client = connect(tenant)
    bobs = a_request("b", metadata={"user_id": "bob"})

    first, second, _ = items_of(
        site, a_batch(client, a_request("a"), bobs, a_request("c", user_profile_id="ada"), user_profile_id="ada")
    )

    assert (first.user_id, second.user_id) == ("ada", "bob")
    with pytest.raises(anthropic.BadRequestError, match="names somebody else"):
        a_batch(client, a_request(user_profile_id="bob"), user_profile_id="ada")


def test_a_request_says_more_than_its_profile(site: Site, connect: Connect, tenant: str) -> None:
    site.give_profile(tenant, "ada", "humor")
    said: dict[str, Any] = {"strength": 0.5, "method": "mixture", "max_kl": 0.1}

    (item,) = items_of(site, a_batch(connect(tenant), a_request(user="ada", principles=["formal"], **said)))

    preference = preference_of(site, item)
    assert {name: preference[name] for name in said} == said
    assert preference["principles"] == [["formal", 1.0]]


def test_who_has_no_profile_is_written_for_unguided(site: Site, client: Anthropic) -> None:
    nobody, stranger = items_of(site, a_batch(client, a_request("a"), a_request("b", metadata={"user_id": "eve"})))

    assert (nobody.user_id, nobody.profile_version) == ("", 0)
    assert (stranger.user_id, stranger.profile_version) == ("eve", 0)
    assert preference_of(site, nobody)["method"] == preference_of(site, stranger)["method"] == "none"


@pytest.fixture(scope="module")
def strict_site(migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    file = tmp_path_factory.mktemp("strict") / "padserve.db"
    file.write_bytes(migrated_sqlite_file.read_bytes())
    with a_site(f"sqlite:///{file}", unknown_users="refuse") as site:
        yield site


def test_who_has_no_profile_is_refused_where_the_setting_says_so(strict_site: Site, tenant: str) -> None:
    strict_site.give_profile(tenant, "ada", "humor")
    with Anthropic(base_url=strict_site.url, api_key=a_key(strict_site, tenant), max_retries=0) as client:
        named = [a_request(name or "a", metadata={"user_id": name}) for name in (None, "eve", "ada")]
        with pytest.raises(anthropic.BadRequestError) as refused:
            a_batch(client, *named)
        with pytest.raises(anthropic.BadRequestError, match="Name the user"):
            client.messages.create(**named[0]["params"])

        assert [(error["code"], error["param"]) for error in refused.value.body["error"]["details"]["errors"]] == [  # type: ignore[index]
            ("user_required", "requests.0.params.metadata.user_id"),
            ("unknown_user", "requests.1.params.metadata.user_id"),
        ]
        assert len(items_of(strict_site, a_batch(client, named[2]))) == 1


def test_when_it_is_wanted_is_padserves_own(site: Site, client: Anthropic) -> None:
    batch = a_batch(client, extra_body={"priority": "bulk", "completion_window": "2h", "metadata": {"about": "tea"}})

    job: Any = client.get(f"/v1/jobs/{(batch.model_extra or {})['job_id']}", cast_to=object)

    assert (job["priority"], job["completion_window"], job["metadata"]) == ("bulk", "2h", {"about": "tea"})
