"""Feedback and fits on both databases: every pair once, one owner at a time, and no write from the dead."""

import datetime as dt
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text, update

from db.models import FeedbackPair, Fit, Profile, Tenant
from db.queries import feedback, fits, profiles
from db.queries.feedback import Added, StoredFit
from db.queries.fits import ClaimedFit, ProfileChangedError
from db.queries.profiles import StoredProfile
from db.session import Database
from domain.json_values import JsonObject
from domain.pairs import PreferredPair
from domain.states import FIT_MOVES, FitState
from tests.builders import DIGEST, MODEL, a_profile, some_pairs

OWNER, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
LEARNED: JsonObject = {"num_pairs": 6}


def add(database: Database, profile_id: uuid.UUID, pairs: list[PreferredPair]) -> Added:
    with database.transaction() as session:
        return feedback.add_pairs(session, profile_id, pairs)


def request(database: Database, profile_id: uuid.UUID, digest: str = DIGEST) -> StoredFit:
    with database.transaction() as session:
        return feedback.request_fit(session, profile_id, model=MODEL, model_digest=digest)


def claim(database: Database, owner: uuid.UUID = OWNER, digest: str = DIGEST) -> ClaimedFit | None:
    with database.transaction() as session:
        return fits.claim(session, owner=owner, model_digest=digest, lease_seconds=60)


def claimed(database: Database) -> ClaimedFit:
    fit = claim(database)
    assert fit is not None
    return fit


def latest(database: Database, profile_id: uuid.UUID) -> StoredFit:
    with database.reading() as session:
        found = feedback.latest_fit(session, profile_id)
    assert found is not None
    return found


def newest(database: Database, user_id: str = "ada") -> StoredProfile:
    with database.reading() as session:
        tenant_id = session.scalars(select(Tenant.id)).one()
        found = profiles.find_profile(session, tenant_id, user_id)
    assert found is not None
    return found


def heavier(fit: ClaimedFit, weight: float = 1.5) -> JsonObject:
    return fit.profile.body | {"principles": [{"text": "formal", "weight": weight}]}


@pytest.fixture
def profile_id(database: Database) -> uuid.UUID:
    return a_profile(database, "formal", "playful")


@pytest.fixture
def waiting(database: Database, profile_id: uuid.UUID) -> StoredFit:
    """A queued fit to six pairs."""
    add(database, profile_id, some_pairs(6))
    return request(database, profile_id)


def test_a_pair_is_stored_once_however_often_it_is_sent(database: Database, profile_id: uuid.UUID) -> None:
    first = add(database, profile_id, some_pairs(4))
    again = add(database, profile_id, [*some_pairs(6), *some_pairs(2)])

    assert (first.num_new, first.num_duplicate) == (4, 0)
    assert (again.num_new, again.num_duplicate) == (2, 6)
    with database.reading() as session:
        assert feedback.num_pairs(session, profile_id) == 6


def test_a_pair_the_other_way_round_contradicts_the_stored_one(database: Database, profile_id: uuid.UUID) -> None:
    add(database, profile_id, some_pairs(3))
    (turned,) = (PreferredPair(pair.messages, pair.rejected, pair.chosen) for pair in some_pairs(2)[1:])
    other_prompt = some_pairs(1, prompt="chess")

    added = add(database, profile_id, [*other_prompt, turned])

    assert added.contradictions == (1,)
    assert add(database, profile_id, other_prompt).contradictions == ()


def test_a_request_can_contradict_itself(database: Database, profile_id: uuid.UUID) -> None:
    pair = some_pairs(1)[0]

    added = add(database, profile_id, [pair, PreferredPair(pair.messages, pair.rejected, pair.chosen)])

    assert added.contradictions == (1,)


def test_many_pairs_fit_into_the_statements(database: Database, profile_id: uuid.UUID) -> None:
    assert add(database, profile_id, some_pairs(1200)).num_new == 1200


def test_a_fit_that_waits_is_not_queued_twice(database: Database, profile_id: uuid.UUID, waiting: StoredFit) -> None:
    assert request(database, profile_id).fit_id == waiting.fit_id

    claim(database)

    assert request(database, profile_id).fit_id != waiting.fit_id  # the one that runs has read its pairs


def test_a_fit_that_waits_is_readdressed_to_the_model_that_is_served_now(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    assert request(database, profile_id, digest="newer").fit_id == waiting.fit_id

    assert claim(database) is None
    assert claim(database, digest="newer") is not None


def test_what_the_client_stated_is_told_from_what_was_learnt(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    fit = claimed(database)
    with database.transaction() as session:
        fits.succeed(session, owner=OWNER, fit=fit, body=heavier(fit), learned=LEARNED)
    with database.transaction() as session:
        profiles.update_profile(session, fit.tenant_id, newest(database), heavier(fit) | {"tags": ["new"]})
    add(database, profile_id, some_pairs(9))
    request(database, profile_id)

    again = claimed(database)

    assert (fit.stated.version, again.stated.version, again.profile.version) == (1, 1, 3)


def test_a_claim_brings_the_profile_as_it_is_and_its_newest_pairs(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "MOST_PAIRS", 4)
    assert claim(database, digest="another") is None

    fit = claimed(database)

    assert (fit.fit_id, fit.attempt, fit.profile) == (waiting.fit_id, 1, newest(database))
    assert list(fit.pairs) == some_pairs(6)[:1:-1]
    assert claim(database, OTHER) is None


def test_two_workers_never_claim_the_same_fit(database: Database) -> None:
    for number in range(8):
        request(database, a_profile(database, "formal", "playful", user_id=f"user {number}"))
    taken: list[uuid.UUID] = []

    def work(owner: uuid.UUID) -> None:
        while (fit := claim(database, owner)) is not None:
            taken.append(fit.fit_id)

    threads = [threading.Thread(target=work, args=(uuid.uuid4(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(taken) == len(set(taken)) == 8


def test_success_writes_a_version_that_says_what_it_was_learnt_from(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    fit = claimed(database)

    with database.transaction() as session:
        fits.succeed(session, owner=OWNER, fit=fit, body=heavier(fit), learned=LEARNED)

    ended, profile = latest(database, profile_id), newest(database)
    assert (ended.state, ended.num_pairs, ended.version) == (FitState.SUCCEEDED, 6, 2)
    assert ended.finished_at is not None
    assert (profile.version, profile.body, profile.learned) == (2, heavier(fit), LEARNED)


def test_a_later_version_by_a_client_was_not_learnt(database: Database, waiting: StoredFit) -> None:
    fit = claimed(database)
    with database.transaction() as session:
        fits.succeed(session, owner=OWNER, fit=fit, body=heavier(fit), learned=LEARNED)

    with database.transaction() as session:
        profiles.update_profile(session, fit.tenant_id, newest(database), heavier(fit, 3))
        versions = profiles.list_versions(session, fit.tenant_id, "ada", before=None, limit=9)

    assert [version.learned for version in versions] == [None, LEARNED, None]


def test_a_profile_that_changed_meanwhile_keeps_its_change(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    fit = claimed(database)
    with database.transaction() as session:
        profiles.update_profile(session, fit.tenant_id, fit.profile, heavier(fit, 9))

    with pytest.raises(ProfileChangedError), database.transaction() as session:
        fits.succeed(session, owner=OWNER, fit=fit, body=heavier(fit), learned=LEARNED)

    assert latest(database, profile_id).state is FitState.RUNNING
    assert newest(database).body == heavier(fit, 9)


def test_weights_that_come_out_as_they_were_make_no_version(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    fit = claimed(database)

    with database.transaction() as session:
        assert fits.succeed(session, owner=OWNER, fit=fit, body=dict(fit.profile.body), learned=LEARNED)

    ended = latest(database, profile_id)
    assert (ended.state, ended.num_pairs, ended.version) == (FitState.SUCCEEDED, 6, None)
    assert newest(database).version == 1


def test_weights_of_a_profile_that_changed_meanwhile_did_not_come_out_as_they_were(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    fit = claimed(database)
    with database.transaction() as session:
        profiles.update_profile(session, fit.tenant_id, fit.profile, heavier(fit, 9))

    with pytest.raises(ProfileChangedError), database.transaction() as session:
        fits.succeed(session, owner=OWNER, fit=fit, body=dict(fit.profile.body), learned=LEARNED)

    assert latest(database, profile_id).state is FitState.RUNNING


def test_a_presumed_dead_worker_can_write_nothing(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    late = claimed(database)
    let_leases_run_out(database)
    assert expire(database) == 1
    again = claim(database, OTHER)

    with database.transaction() as session:
        held = fits.extend(session, owner=OWNER, fit=late, lease_seconds=60)
        succeeded = fits.succeed(session, owner=OWNER, fit=late, body=heavier(late), learned=LEARNED)
        fits.fail(session, owner=OWNER, fit=late, code="late", message="late")
        fits.give_back(session, owner=OWNER, fit=late, was_tried=True)

    assert again is not None
    assert (again.fit_id, again.attempt) == (late.fit_id, 2)
    assert (held, succeeded) == (False, False)
    assert latest(database, profile_id).state is FitState.RUNNING
    assert newest(database).version == 1


def test_a_fit_whose_worker_is_lost_again_and_again_fails_with_the_reason(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    for _ in range(3):
        assert claim(database) is not None
        let_leases_run_out(database)
        assert expire(database, max_attempts=3) == 1

    ended = latest(database, profile_id)
    assert (ended.state, ended.error_code) == (FitState.FAILED, "worker_lost")
    assert claim(database) is None


@pytest.mark.parametrize(("was_tried", "next_attempt"), [(False, 1), (True, 2)])
def test_an_attempt_that_was_not_made_costs_none(
    database: Database, waiting: StoredFit, *, was_tried: bool, next_attempt: int
) -> None:
    fit = claimed(database)

    with database.transaction() as session:
        fits.give_back(session, owner=OWNER, fit=fit, was_tried=was_tried)

    assert claimed(database).attempt == next_attempt


def test_feedback_goes_with_its_profile(database: Database, waiting: StoredFit) -> None:
    with database.transaction() as session:
        tenant_id = session.scalars(select(Tenant.id)).one()
        profiles.delete_profile(session, tenant_id, newest(database))

    with database.reading() as session:
        left = [
            session.scalars(select(func.count()).select_from(table)).one() for table in (FeedbackPair, Fit, Profile)
        ]
    assert left == [0, 0, 0]
    assert claim(database) is None


def test_withdrawn_pairs_are_gone_and_a_fit_that_waits_ends(
    database: Database, profile_id: uuid.UUID, waiting: StoredFit
) -> None:
    other_id = a_profile(database, "formal", "playful", user_id="bob")
    add(database, other_id, some_pairs(6))
    others_fit = request(database, other_id)

    with database.transaction() as session:
        feedback.withdraw(session, profile_id)

    with database.reading() as session:
        assert feedback.num_pairs(session, profile_id) == 0
        assert feedback.num_pairs(session, other_id) == 6
    assert (latest(database, profile_id).state, latest(database, profile_id).error_code) == (
        FitState.FAILED,
        feedback.WITHDRAWN,
    )
    assert claimed(database).fit_id == others_fit.fit_id
    assert claim(database) is None


@pytest.mark.parametrize("end", ["withdraw", "delete"])
def test_a_fit_that_ends_while_its_feedback_goes_waits_in_no_circle(postgresql_database: Database, end: str) -> None:
    """SQLite has one writer at a time; here both lock the profile and the fit."""
    database = postgresql_database
    profile_id = a_profile(database, "formal", "playful")
    add(database, profile_id, some_pairs(6))
    request(database, profile_id)
    fit = claimed(database)

    def succeed() -> None:
        with database.transaction() as session:
            fits.succeed(session, owner=OWNER, fit=fit, body=heavier(fit), learned=LEARNED)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            stored = profiles.find_profile(session, fit.tenant_id, "ada", for_update=True)
            assert stored is not None
            succeeding = pool.submit(succeed)
            while not is_waiting_for_a_lock(database):
                assert not succeeding.done()
            if end == "withdraw":
                feedback.withdraw(session, profile_id)
            else:
                profiles.delete_profile(session, fit.tenant_id, stored)
        succeeding.result(30)

    with database.reading() as session:
        found = profiles.find_profile(session, fit.tenant_id, "ada")
        assert [found and found.version, feedback.latest_fit(session, profile_id) is None] == (
            [1, False] if end == "withdraw" else [None, True]
        )


def test_what_was_learnt_before_and_ended_stays(database: Database, profile_id: uuid.UUID, waiting: StoredFit) -> None:
    fit = claimed(database)
    with database.transaction() as session:
        fits.succeed(session, owner=OWNER, fit=fit, body=fit.profile.body | {"method": "mixture"}, learned=LEARNED)

    with database.transaction() as session:
        feedback.withdraw(session, profile_id)

    assert latest(database, profile_id).state is FitState.SUCCEEDED
    assert newest(database).version == 2


def test_every_state_of_a_fit_has_its_moves() -> None:
    assert set(FIT_MOVES) == set(FitState)
    assert [state for state, moves in FIT_MOVES.items() if not moves] == [FitState.SUCCEEDED, FitState.FAILED]


def is_waiting_for_a_lock(database: Database) -> bool:
    """Whether any session of this PostgreSQL database is."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.reading() as session:
        return bool(session.scalar(text(waiting)))


def let_leases_run_out(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(Fit).values(lease_until=dt.datetime(2000, 1, 1, tzinfo=dt.UTC)))


def expire(database: Database, max_attempts: int = 5) -> int:
    with database.transaction() as session:
        return fits.expire(session, max_attempts=max_attempts)
