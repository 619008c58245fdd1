"""What a job stores besides itself: preferences once per tenant, sampling settings that read back as they were."""

import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from db.models import Preference
from db.preferences import EffectivePreference
from db.queries.items import store_preferences
from db.sampling import MAX_SEED, Sampling
from db.session import Database
from tests.builders import a_tenant, preference


def store(database: Database, tenant_id: uuid.UUID, *preferences: EffectivePreference) -> None:
    with database.transaction() as session:
        for each in preferences:
            store_preferences(session, tenant_id=tenant_id, bodies={each.hash: each.body})


def num_preferences(database: Database) -> int:
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(Preference)).one()


def test_a_preference_is_stored_once_per_tenant(database: Database) -> None:
    formal = preference("formal")
    with database.transaction() as session:
        first, second = a_tenant(session, "first"), a_tenant(session, "second")

    store(database, first, formal)
    store(database, first, formal)
    store(database, second, formal)

    assert num_preferences(database) == 2


def test_jobs_that_bring_the_same_preferences_in_opposite_orders_do_not_block_each_other(database: Database) -> None:
    preferences = [preference(f"principle {number}") for number in range(30)]
    with database.transaction() as session:
        tenant_id = a_tenant(session)
    barrier = threading.Barrier(2)
    failures: list[Exception] = []

    def work(order: list[EffectivePreference]) -> None:
        barrier.wait()
        try:
            store(database, tenant_id, *order)
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(order,)) for order in (preferences, preferences[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert num_preferences(database) == 30


@given(
    st.builds(
        Sampling,
        k=st.integers(1, 1000),
        temperature=st.floats(0, 2),
        seed=st.integers(0, MAX_SEED),
        stop=st.lists(st.text(min_size=1), max_size=4).map(tuple),
        rewards=st.booleans(),
    )
)
def test_sampling_reads_back_as_it_was(sampling: Sampling) -> None:
    assert Sampling.from_body(sampling.body) == sampling


def test_a_field_that_an_older_body_lacks_has_its_default() -> None:
    assert Sampling.from_body({"k": 3, "added_later": 1}) == Sampling(k=3)


def test_a_body_that_nobody_wrote_is_refused() -> None:
    with pytest.raises(TypeError):
        Sampling.from_body({"stop": "END"})
