"""Learning on real databases and a real engine process, with a fake decoder in it that likes what names a principle."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from db.models import Tenant
from db.queries import feedback, fits, profiles
from db.queries.feedback import StoredFit
from db.queries.profiles import StoredProfile
from db.session import Database
from domain.pairs import PreferredPair
from domain.states import FitState
from tests.builders import DIGEST, MODEL, a_job, a_profile, preference, some_pairs, states_of
from tests.fake_decoder import load_echo, load_nothing
from worker.learning import fits as learning
from worker.learning.fits import Learning, LearningPolicy
from worker.pipeline.decoding import Decoding, DecodingPolicy
from worker.supervision.protocol import DecoderUnavailableError
from worker.supervision.supervisor import EngineSupervisor


@pytest.fixture
def supervisor(forked_engines: None) -> Iterator[EngineSupervisor]:
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=3)
    supervisor.start()
    yield supervisor
    supervisor.stop()


def a_learning(
    database: Database,
    supervisor: EngineSupervisor,
    *,
    lease: float = 30,
    stopping: threading.Event | None = None,
) -> Learning:
    policy = LearningPolicy(model_digest=DIGEST, lease_seconds=lease, max_attempts=2)
    return Learning(database, supervisor, policy, stopping or threading.Event())


def ask(database: Database, profile_id: uuid.UUID, pairs: list[PreferredPair]) -> uuid.UUID:
    with database.transaction() as session:
        feedback.add_pairs(session, profile_id, pairs)
        return feedback.request_fit(session, profile_id, model=MODEL, model_digest=DIGEST).fit_id


def outcome(database: Database, profile_id: uuid.UUID) -> StoredFit:
    with database.reading() as session:
        found = feedback.latest_fit(session, profile_id)
    assert found is not None
    return found


def newest(database: Database, user_id: str = "ada") -> StoredProfile:
    with database.reading() as session:
        found = profiles.find_profile(session, session.scalars(select(Tenant.id)).one(), user_id)
    assert found is not None
    return found


def weights_of(profile: StoredProfile) -> dict[str, float]:
    return dict(learning.principles_of(profile.body))


def test_weights_move_to_what_the_user_preferred(database: Database, supervisor: EngineSupervisor) -> None:
    profile_id = a_profile(database, "formal", "playful", "concise", fields={"strength": 0.7, "tags": ["beta"]})
    ask(database, profile_id, some_pairs(8))

    following = a_learning(database, supervisor).run()

    fit, profile = outcome(database, profile_id), newest(database)
    weights = weights_of(profile)
    assert following is None
    assert (fit.state, fit.num_pairs, fit.version) == (FitState.SUCCEEDED, 8, 2)
    assert weights["formal"] > weights["concise"] > weights["playful"]
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-3)
    assert (profile.body["method"], profile.body["strength"], profile.body["tags"]) == ("mixture", 0.7, ["beta"])
    assert profile.learned is not None
    assert (profile.learned["num_pairs"], profile.learned["base_version"], profile.learned["agreement"]) == (8, 1, 1.0)
    deviations = profile.learned["deviations"]
    assert isinstance(deviations, list)
    assert len(deviations) == 3


@pytest.mark.parametrize(("method", "total"), [("mixture", 3.0), ("pad", 1.0), (None, 1.0)])
def test_learning_leaves_the_guidance_as_strong_as_it_was(
    sqlite_database: Database, supervisor: EngineSupervisor, method: str | None, total: float
) -> None:
    profile_id = a_profile(sqlite_database, "formal", "playful", "concise", fields={"method": method})
    ask(sqlite_database, profile_id, some_pairs(8))

    a_learning(sqlite_database, supervisor).run()

    assert sum(weights_of(newest(sqlite_database)).values()) == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("method", ["mixture", None])
def test_pairs_that_come_one_after_the_other_count_once(
    sqlite_database: Database, supervisor: EngineSupervisor, method: str | None
) -> None:
    pairs = [*some_pairs(2, rejected="other"), *some_pairs(6, chosen="formal formal", rejected="playful")]
    at_once = a_profile(sqlite_database, "formal", "playful", user_id="ada", fields={"method": method})
    bit_by_bit = a_profile(sqlite_database, "formal", "playful", user_id="bob", fields={"method": method})
    worker = a_learning(sqlite_database, supervisor)

    ask(sqlite_database, at_once, pairs)
    worker.run()
    for num_pairs in range(5, len(pairs) + 1):
        ask(sqlite_database, bit_by_bit, pairs[:num_pairs])
        worker.run()

    whole, grown = weights_of(newest(sqlite_database, "ada")), weights_of(newest(sqlite_database, "bob"))
    assert grown == pytest.approx(whole, abs=1e-4)
    assert 0 < grown["playful"] < grown["formal"]


def test_the_same_feedback_gives_the_same_weights(database: Database, supervisor: EngineSupervisor) -> None:
    for user_id in ("ada", "bob"):
        ask(database, a_profile(database, "formal", "playful", user_id=user_id), some_pairs(7))
    worker = a_learning(database, supervisor)

    following = worker.run()
    last = worker.run()

    assert following is not None
    assert last is None
    assert weights_of(newest(database, "ada")) == weights_of(newest(database, "bob"))


@pytest.mark.parametrize(
    ("principles", "pairs", "fields", "code"),
    [
        (["formal", "playful"], some_pairs(8), {"learn": False}, "consent_required"),
        (["formal"], some_pairs(8), {}, "too_few_principles"),
        (["formal", "playful"], some_pairs(8, chosen="unscorable"), {}, "too_few_pairs"),
        (["formal", "playful"], some_pairs(300, chosen="x", rejected="formal playful " * 9), {}, "nothing_preferred"),
    ],
)
def test_what_cannot_be_learnt_from_ends_with_the_reason_and_leaves_the_profile(  # noqa: PLR0917 (fixtures)
    sqlite_database: Database,
    supervisor: EngineSupervisor,
    principles: list[str],
    pairs: list[PreferredPair],
    fields: dict[str, object],
    code: str,
) -> None:
    profile_id = a_profile(sqlite_database, *principles, fields=fields)
    ask(sqlite_database, profile_id, pairs)

    a_learning(sqlite_database, supervisor).run()

    fit = outcome(sqlite_database, profile_id)
    assert (fit.state, fit.error_code, fit.version) == (FitState.FAILED, code, None)
    assert fit.error_message
    assert newest(sqlite_database).version == 1


def test_pairs_that_could_not_be_scored_are_not_counted(
    sqlite_database: Database, supervisor: EngineSupervisor
) -> None:
    profile_id = a_profile(sqlite_database, "formal", "playful")
    ask(sqlite_database, profile_id, [*some_pairs(6), *some_pairs(3, chosen="unscorable")])

    a_learning(sqlite_database, supervisor).run()

    profile = newest(sqlite_database)
    assert profile.learned is not None
    assert outcome(sqlite_database, profile_id).num_pairs == profile.learned["num_pairs"] == 6


def test_weights_that_come_out_as_they_were_are_told_from_a_version(
    sqlite_database: Database, supervisor: EngineSupervisor
) -> None:
    profile_id = a_profile(sqlite_database, "formal", "playful", fields={"method": "mixture"})
    ask(sqlite_database, profile_id, some_pairs(6, chosen="this", rejected="that"))

    a_learning(sqlite_database, supervisor).run()

    fit = outcome(sqlite_database, profile_id)
    assert (fit.state, fit.num_pairs, fit.version) == (FitState.SUCCEEDED, 6, None)
    assert newest(sqlite_database).version == 1


def test_a_comparison_that_takes_longer_than_an_engine_may_be_silent_is_waited_for(
    sqlite_database: Database, supervisor: EngineSupervisor
) -> None:
    """Four pairs of a large model on a CPU took minutes without a beat, and the engine was killed as hung."""
    profile_id = a_profile(sqlite_database, "formal", "playful")
    ask(sqlite_database, profile_id, some_pairs(5, prompt="long"))

    a_learning(sqlite_database, supervisor).run()

    assert outcome(sqlite_database, profile_id).state is FitState.SUCCEEDED


def test_feedback_that_is_withdrawn_while_it_is_learnt_from_changes_nothing(
    database: Database, supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_id = a_profile(database, "formal", "playful")
    ask(database, profile_id, some_pairs(6))
    worker, compare = a_learning(database, supervisor), supervisor.compare

    def interrupted(*arguments: object, **others: object) -> object:
        with database.transaction() as session:
            feedback.withdraw(session, profile_id)
        return compare(*arguments, **others)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(supervisor, "compare", interrupted)
    following = worker.run()

    fit = outcome(database, profile_id)
    assert (fit.state, fit.error_code, fit.version) == (FitState.FAILED, "feedback_withdrawn", None)
    assert (newest(database).version, following) == (1, None)


def test_an_engine_that_dies_once_loses_no_fit(
    database: Database, supervisor: EngineSupervisor, tmp_path: Path
) -> None:
    profile_id = a_profile(database, "formal", "playful")
    ask(database, profile_id, some_pairs(6, prompt=f"once:{tmp_path / 'killed'} kill"))
    worker = a_learning(database, supervisor)

    following = worker.run()
    worker.run()

    assert following is not None  # the same fit, queued again
    assert (outcome(database, profile_id).state, newest(database).version) == (FitState.SUCCEEDED, 2)


@pytest.mark.parametrize("misfortune", ["kill", "hang"])
def test_texts_that_break_the_engine_each_time_fail_their_fit_alone(
    sqlite_database: Database, supervisor: EngineSupervisor, misfortune: str
) -> None:
    profile_id = a_profile(sqlite_database, "formal", "playful")
    ask(sqlite_database, profile_id, some_pairs(6, prompt=misfortune))
    other_id = a_profile(sqlite_database, "formal", "playful", user_id="bob")
    ask(sqlite_database, other_id, some_pairs(6))
    worker = a_learning(sqlite_database, supervisor)

    while worker.run() is not None:
        pass

    broken = outcome(sqlite_database, profile_id)
    assert (broken.state, broken.error_code) == (FitState.FAILED, "engine_lost")
    assert outcome(sqlite_database, other_id).state is FitState.SUCCEEDED
    assert newest(sqlite_database).version == 1


def test_a_profile_written_meanwhile_is_fitted_anew(
    database: Database, supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_id = a_profile(database, "formal", "playful")
    ask(database, profile_id, some_pairs(6))
    worker, compare = a_learning(database, supervisor), supervisor.compare
    writes = iter([True])

    def interrupted(*arguments: object, **others: object) -> object:
        if next(writes, False):
            written = newest(database)
            with database.transaction() as session:
                tenant_id = session.scalars(select(Tenant.id)).one()
                profiles.update_profile(session, tenant_id, written, written.body | {"tags": ["new"]})
        return compare(*arguments, **others)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(supervisor, "compare", interrupted)
    while worker.run() is not None:
        pass

    profile = newest(database)
    assert (profile.version, profile.body["tags"]) == (3, ["new"])
    assert profile.learned is not None
    assert profile.learned["base_version"] == 2


def test_a_worker_that_is_to_end_gives_the_fit_back_untried(database: Database, supervisor: EngineSupervisor) -> None:
    profile_id = a_profile(database, "formal", "playful")
    ask(database, profile_id, some_pairs(6))
    stopping = threading.Event()
    stopping.set()

    a_learning(database, supervisor, stopping=stopping).run()

    assert outcome(database, profile_id).state is FitState.QUEUED
    with database.transaction() as session:
        again = fits.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, lease_seconds=60)
    assert again is not None
    assert again.attempt == 1


def test_a_worker_whose_model_cannot_be_loaded_again_gives_the_fit_back_untried(sqlite_database: Database) -> None:
    ask(sqlite_database, a_profile(sqlite_database, "formal", "playful"), some_pairs(6))
    unloadable = EngineSupervisor(load_nothing, start_seconds=60, silence_seconds=3)

    with pytest.raises(DecoderUnavailableError):
        a_learning(sqlite_database, unloadable).run()

    with sqlite_database.transaction() as session:
        again = fits.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, lease_seconds=60)
    assert again is not None
    assert again.attempt == 1


def test_a_worker_whose_lease_was_taken_away_leaves_the_fit_to_others(
    database: Database, supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_id = a_profile(database, "formal", "playful")
    ask(database, profile_id, some_pairs(6))
    worker = a_learning(database, supervisor, lease=0)  # extended before every comparison
    other, compare = uuid.uuid4(), supervisor.compare

    def overtaken(*arguments: object, **others: object) -> object:
        with database.transaction() as session:
            fits.expire(session, max_attempts=9)
            fits.claim(session, owner=other, model_digest=DIGEST, lease_seconds=60)
        return compare(*arguments, **others)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(supervisor, "compare", overtaken)
    worker.run()

    assert outcome(database, profile_id).state is FitState.RUNNING
    assert newest(database).version == 1


def test_decoding_goes_on_in_the_engine_that_has_compared(database: Database, supervisor: EngineSupervisor) -> None:
    ask(database, a_profile(database, "formal", "playful"), some_pairs(6))
    job_id = a_job(database, [preference("formal")] * 5)
    policy = DecodingPolicy(model_digest=DIGEST, lease_seconds=30, time_slice_seconds=60, drain_seconds=20)

    a_learning(database, supervisor).run()
    Decoding(database, supervisor, policy).run()

    assert {state.value for state in states_of(database, job_id)} == {"succeeded"}
