"""What an item says goes before the job's defaults, those before the user's profile, that before the system."""

import uuid
from collections.abc import Mapping
from itertools import product

import pytest
from starlette.testclient import TestClient

from api.jobs.schemas import Overrides
from api.submissions.guidance import Guidance, ModelDefaults
from db.queries import claims
from db.queries.profiles import PinnedProfile
from domain.preferences import Method
from domain.sampling import MAX_SEED, Sampling
from tests.api.conftest import Api
from tests.api.job_requests import accepted, an_item, give_profile, items_of_job, preference_of, submit
from tests.builders import DIGEST, a_description

SAID = (True, False)
OF_MODEL = ModelDefaults.of(a_description())


def a_profile(**fields: object) -> PinnedProfile:
    body: dict[str, object] = {"principles": [{"text": "of the profile", "weight": 1.0}], "method": None, **fields}
    return PinnedProfile("ada", 1, body)


def overrides(**fields: object) -> Overrides:
    return Overrides.model_validate(fields)


@pytest.mark.parametrize(("item", "defaults", "profile"), list(product(SAID, SAID, SAID)))
def test_method_and_strength_come_from_the_nearest_that_says_them(item: bool, defaults: bool, profile: bool) -> None:  # noqa: FBT001 - a truth table
    own = overrides(method="prompt", strength=2.0) if item else overrides()
    job = overrides(method="contrast", strength=3.0) if defaults else overrides()
    of_user = a_profile(method="mixture", strength=4.0) if profile else a_profile()
    nearest = (
        ("prompt", 0.0) if item else ("contrast", 3.0) if defaults else ("mixture", 4.0) if profile else ("pad", 1.0)
    )

    _, preference = Guidance(OF_MODEL, job).preference(own, of_user)

    assert (preference.method, preference.strength) == nearest


@pytest.mark.parametrize(("item", "defaults"), list(product(SAID, SAID)))
def test_principles_of_an_item_or_a_job_replace_those_of_the_profile(item: bool, defaults: bool) -> None:  # noqa: FBT001 - a truth table
    own = overrides(principles=["of the item"]) if item else overrides()
    job = overrides(principles=["of the job"]) if defaults else overrides()
    nearest = "of the item" if item else "of the job" if defaults else "of the profile"

    _, preference = Guidance(OF_MODEL, job).preference(own, a_profile())

    assert [principle.text for principle in preference.principles] == [nearest]


def test_an_empty_list_of_principles_means_none() -> None:
    _, preference = Guidance(OF_MODEL, overrides()).preference(overrides(principles=[]), a_profile())

    assert preference.method is Method.NONE


def test_strength_0_is_said_and_not_forgotten() -> None:
    _, preference = Guidance(OF_MODEL, overrides(strength=2.0)).preference(overrides(strength=0), a_profile())

    assert preference.strength == 0.0


def test_sampling_is_said_by_the_item_then_the_job_then_the_system() -> None:
    job = overrides(k=4, temperature=0.5, stop=["a", "b"], rewards=True)
    guidance = Guidance(OF_MODEL, job)

    sampling = guidance.sampling(overrides(temperature=0.0, stop="c", rewards=False, top_p=0.9), position=0)

    assert sampling == Sampling(k=4, temperature=0.0, top_p=0.9, seed=0, max_tokens=128, stop=("c",), rewards=False)


def test_items_without_a_seed_differ_and_the_same_job_again_does_not() -> None:
    first, again = (Guidance(OF_MODEL, overrides(seed=7)) for _ in range(2))

    seeds = [first.sampling(overrides(), position).seed for position in range(3)]

    assert seeds == [7, 8, 9]
    assert [again.sampling(overrides(), position).seed for position in range(3)] == seeds
    assert Guidance(OF_MODEL, overrides()).sampling(overrides(), 5).seed == 5


def test_a_seed_of_an_item_is_used_as_it_is() -> None:
    guidance = Guidance(OF_MODEL, overrides(seed=7))

    assert guidance.sampling(overrides(seed=0), position=5).seed == 0


def test_seeds_stay_in_range() -> None:
    assert Guidance(OF_MODEL, overrides(seed=MAX_SEED)).sampling(overrides(), position=1).seed == 0


@pytest.mark.parametrize(("has_policy", "method"), [(True, "pad"), (False, "contrast")])
def test_the_system_steers_with_what_the_model_can(api: Api, method: str, *, has_policy: bool) -> None:
    api.serve(description=a_description(has_policy=has_policy))
    client = api.client()
    give_profile(client)

    job_id = accepted(submit(client, an_item()))

    assert stored_preferences(api, job_id) == [{"method": method, "strength": 1.0, "principles": [["humor", 1.0]]}]


def test_the_whole_order_holds_through_the_api(api: Api, client: TestClient) -> None:
    give_profile(client, "ada", "humor", method="contrast", strength=0.5)
    give_profile(client, "bob", "formal")

    job_id = accepted(
        submit(
            client,
            an_item("a", "ada"),
            an_item("b", "bob"),
            an_item("c", "ada", strength=3, principles=[{"text": "short", "weight": 2}]),
            defaults={"strength": 2},
        )
    )

    assert stored_preferences(api, job_id) == [
        {"method": "contrast", "strength": 2.0, "principles": [["humor", 1.0]]},
        {"method": "pad", "strength": 2.0, "principles": [["formal", 1.0]]},
        {"method": "contrast", "strength": 3.0, "principles": [["short", 1.0]]},
    ]


def stored_preferences(api: Api, job_id: uuid.UUID) -> list[Mapping[str, object]]:
    return [preference_of(api.database, item) for item in items_of_job(api.database, job_id)]


def test_a_job_is_written_as_its_users_were_when_it_was_submitted_whatever_becomes_of_them(
    api: Api, client: TestClient
) -> None:
    give_profile(client, "ada", "humor")
    give_profile(client, "bob", "formal")
    job_id = accepted(submit(client, an_item("a", "ada"), an_item("b", "bob")))

    give_profile(client, "ada", "brevity")
    assert client.delete("/v1/profiles/bob").status_code == 204

    with api.database.transaction() as session:
        claimed = claims.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, limit=2, lease_seconds=60)
    by_position = sorted(claimed, key=lambda item: item.item_id)
    assert [item.preference["principles"] for item in by_position] == [[["humor", 1.0]], [["formal", 1.0]]]
    assert [(item.user_id, item.profile_version) for item in items_of_job(api.database, job_id)] == [
        ("ada", 1),
        ("bob", 1),
    ]
