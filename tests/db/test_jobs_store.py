"""What a job stores besides itself: preferences once per tenant, sampling settings that read back as they were."""

import json
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from db.models import Item, Preference
from db.queries.items import ITEMS_PER_STRETCH, NewItem, insert_items, store_preferences
from db.queries.jobs import insert_job
from db.session import Database
from domain.preferences import EffectivePreference
from domain.sampling import MAX_SEED, Sampling
from tests.builders import a_tenant, preference


def store(database: Database, tenant_id: uuid.UUID, *preferences: EffectivePreference) -> None:
    with database.transaction() as session:
        for each in preferences:
            store_preferences(session, tenant_id=tenant_id, bodies={each.hash: each.body})


def num_preferences(database: Database) -> int:
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(Preference)).one()


def store_items(database: Database, *texts: str, custom_id: str = "item-{}") -> uuid.UUID:
    with database.transaction() as session:
        model, digest = "tiny", "d" * 64
        tenant_id = a_tenant(session)
        job_id = insert_job(
            session, tenant_id=tenant_id, model=model, model_digest=digest, metadata={}, num_items=len(texts)
        )
        insert_items(
            session,
            job_id=job_id,
            model=model,
            model_digest=digest,
            items=[
                NewItem(position, custom_id.format(position), "ada", 1, "h" * 64, json.dumps([{"text": text}]), "{}")
                for position, text in enumerate(texts)
            ],
        )
    return job_id


def test_a_job_without_new_preferences_waits_for_no_other_that_stores_some(postgresql_database: Database) -> None:
    database, known, new = postgresql_database, preference("known"), preference("new")
    with database.transaction() as session:
        tenant_id = a_tenant(session)
    store(database, tenant_id, known)

    with database.transaction() as other, database.transaction() as session:
        store_preferences(other, tenant_id=tenant_id, bodies={new.hash: new.body})
        session.execute(text("SET LOCAL lock_timeout = '1s'"))
        store_preferences(session, tenant_id=tenant_id, bodies={known.hash: known.body})

    assert num_preferences(database) == 2


def test_items_read_back_as_they_were_stored_whatever_is_in_them(database: Database) -> None:
    texts = ["tab\there", "back\\slash \\N", 'a "quote"', "two\nlines\r\n", "é 🫖", "\\u0041", "{}", "\\."]

    job_id = store_items(database, *texts)

    with database.reading() as session:
        items = session.scalars(select(Item).where(Item.job_id == job_id).order_by(Item.position)).all()
    assert [item.messages for item in items] == [[{"text": text}] for text in texts]
    assert {(item.sampling == {}, item.attempt, item.user_id) for item in items} == {(True, 0, "ada")}


def test_an_items_stretch_is_that_of_its_position(database: Database) -> None:
    job_id = store_items(database, *("text" for _ in range(2 * ITEMS_PER_STRETCH + 1)))

    with database.reading() as session:
        in_order = select(Item.stretch).where(Item.job_id == job_id).order_by(Item.position)
        stretches = session.scalars(in_order).all()
    assert stretches == [*(ITEMS_PER_STRETCH * [0]), *(ITEMS_PER_STRETCH * [1]), 2]


def test_what_the_database_refuses_of_items_is_the_error_that_everybody_expects(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught:
        store_items(database, "first", "secret", custom_id="same")

    assert "secret" not in str(caught.value)


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
