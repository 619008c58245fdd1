"""Ratings on both databases: kept, the last of a text, and paired with those of the same prompt whenever they came."""

import uuid

import pytest
from sqlalchemy import func, select

from db.models import FeedbackRating, Result, Tenant
from db.queries import claims, feedback, profiles, ratings
from db.queries.ratings import Rating
from db.session import Database
from domain.attempts import Outcome
from domain.pairs import PreferredPair
from tests.builders import DIGEST, a_job, a_profile, preference

OWNER = uuid.UUID(int=1)


def rating(text: str, value: float, prompt: str = "tea") -> Rating:
    return Rating([{"role": "user", "content": prompt}], text, value)


def rate(database: Database, profile_id: uuid.UUID, *given: Rating) -> list[tuple[int, str, str]]:
    """Keep them; place, chosen and rejected of the pairs that they make."""
    with database.transaction() as session:
        made = list(ratings.pairs_made(session, profile_id, given))
        ratings.keep(session, profile_id, given)
    return [(index, pair.chosen, pair.rejected) for index, pair in made]


def num_kept(database: Database, profile_id: uuid.UUID) -> int:
    with database.reading() as session:
        return ratings.num_ratings(session, profile_id)


@pytest.fixture
def profile_id(database: Database) -> uuid.UUID:
    return a_profile(database, "formal", "playful")


def test_every_two_texts_of_a_prompt_that_are_rated_differently_make_a_pair(
    database: Database, profile_id: uuid.UUID
) -> None:
    made = rate(database, profile_id, rating("a", 5), rating("b", 1), rating("c", 5), rating("x", 0, prompt="chess"))

    assert made == [(1, "a", "b"), (2, "c", "b")]
    assert num_kept(database, profile_id) == 4


def test_a_rating_makes_pairs_with_those_that_were_kept(database: Database, profile_id: uuid.UUID) -> None:
    assert rate(database, profile_id, rating("a", 5)) == []
    assert rate(database, profile_id, rating("b", 1)) == [(0, "a", "b")]
    assert rate(database, profile_id, rating("c", 3)) == [(0, "a", "c"), (0, "c", "b")]


def test_the_last_rating_of_a_text_counts(database: Database, profile_id: uuid.UUID) -> None:
    rate(database, profile_id, rating("a", 2), rating("b", 1))

    made = rate(database, profile_id, rating("c", 4), rating("a", 5))

    assert made == [(0, "c", "b"), (1, "a", "b"), (1, "a", "c")]
    assert num_kept(database, profile_id) == 3


def test_a_rating_that_is_sent_again_makes_the_same_pairs(database: Database, profile_id: uuid.UUID) -> None:
    rate(database, profile_id, rating("a", 2), rating("b", 1))

    assert rate(database, profile_id, rating("b", 1), rating("b", 1)) == [(0, "a", "b"), (1, "a", "b")]
    assert num_kept(database, profile_id) == 2


def test_other_users_ratings_make_no_pairs(database: Database, profile_id: uuid.UUID) -> None:
    rate(database, a_profile(database, "formal", "playful", user_id="bob"), rating("a", 2))

    assert rate(database, profile_id, rating("b", 1)) == []


def test_a_pair_has_the_prompt_of_its_ratings(database: Database, profile_id: uuid.UUID) -> None:
    with database.transaction() as session:
        made = list(ratings.pairs_made(session, profile_id, [rating("a", 2), rating("b", 1)]))

    assert made == [(1, PreferredPair([{"role": "user", "content": "tea"}], "a", "b"))]


def test_many_ratings_fit_into_the_statements(database: Database, profile_id: uuid.UUID) -> None:
    given = [rating("a", 1, prompt=f"tea {number}") for number in range(1200)]

    assert rate(database, profile_id, *given) == []
    assert num_kept(database, profile_id) == 1200


@pytest.mark.parametrize("end", ["withdraw", "delete"])
def test_ratings_go_with_the_feedback_and_with_the_profile(database: Database, profile_id: uuid.UUID, end: str) -> None:
    rate(database, profile_id, rating("a", 1))

    with database.transaction() as session:
        tenant_id = session.scalars(select(Tenant.id)).one()
        stored = profiles.find_profile(session, tenant_id, "ada")
        assert stored is not None
        if end == "withdraw":
            feedback.withdraw(session, profile_id)
        else:
            profiles.delete_profile(session, tenant_id, stored)

    with database.reading() as session:
        assert session.scalars(select(func.count()).select_from(FeedbackRating)).one() == 0


def test_only_texts_of_this_tenant_can_be_rated(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 3)
    a_profile(database, "formal", "playful", tenant="other")
    with database.transaction() as session:
        items = claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=3, lease_seconds=60)
        outcomes = [Outcome(item.item_id, item.attempt, text=f"text {index}") for index, item in enumerate(items[:2])]
        claims.save(session, owner=OWNER, outcomes=outcomes)
        tenants = {tenant.name: tenant.id for tenant in session.scalars(select(Tenant))}
        wanted = ["item-0", "item-1", "item-2", "item-9"]
        own = ratings.ratable_texts(session, tenants["default"], job_id, wanted)
        foreign = ratings.ratable_texts(session, tenants["other"], job_id, wanted)
        num_results = session.scalars(select(func.count()).select_from(Result)).one()

    assert {custom_id: (rated.user_id, rated.text) for custom_id, rated in own.items()} == {
        "item-0": ("user-0", "text 0"),
        "item-1": ("user-1", "text 1"),
    }
    assert foreign == {}
    assert num_results == 2
