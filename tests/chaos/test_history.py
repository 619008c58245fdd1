"""The history checker finds what may not happen to an attempt, and nothing else, in histories made by hand."""

import uuid
from pathlib import Path

import pytest

from db.queries import claims, losses, retrying
from db.queries.cancelling import cancel
from db.queries.history import Said
from db.session import Database
from domain.attempts import Outcome
from tests.builders import DIGEST, a_job, preference, wind_up
from tests.chaos.history import Event, broken_rules, said_in, unfinished, unsaid
from tests.chaos.journal import keep_journal, read_journal

A, B = "a" * 32, "b" * 32


def history(*events: str) -> list[Event]:
    """Of item 7, each as `claimed 1 A`."""
    parts = [event.split(" ") for event in events]
    return [
        Event(Said(said), 7, int(number), *({"A": A, "B": B}[one] for one in owner)) for said, number, *owner in parts
    ]


@pytest.mark.parametrize(
    "events",
    [
        ["claimed 1 A", "saved 1 A"],
        ["claimed 1 A", "expired 1", "claimed 2 B", "saved 2 B"],
        ["claimed 1 A", "released 1 A", "claimed 1 B", "saved 1 B"],
        ["claimed 1 A", "expired 1", "claimed 2 B", "released 2 B", "claimed 2 A", "died 2 A", "lost 2 A"],
        ["claimed 1 A", "died 1 A", "saved 1 A"],
        ["claimed 1 A", "lost 1"],
        ["cancelled 0"],
        ["claimed 1 A", "cancelled 1"],
        ["claimed 1 A", "saved 1 A", "retried 1", "claimed 2 B", "saved 2 B"],
        ["cancelled 0", "retried 0", "claimed 1 A", "saved 1 A"],
        ["claimed 1 A", "saved 1 A", "cancelled 1"],  # the job had been cancelled: in the same transaction
    ],
)
def test_what_may_happen_is_clean(events: list[str]) -> None:
    assert broken_rules(history(*events)) == []
    assert unfinished(history(*events)) == set()


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (["saved 1 A"], "nobody had claimed it"),
        (["claimed 1 A", "saved 1 B"], f"{B} did it, and {A} held it"),
        (["claimed 1 A", "saved 2 A"], "the attempt was 1"),
        (["claimed 1 A", "expired 1", "saved 1 A"], "nobody had claimed it"),
        (["claimed 1 A", "expired 1", "claimed 2 B", "saved 1 A"], "the attempt was 2"),
        (["claimed 1 A", "saved 1 A", "saved 1 A"], "the item had ended: saved"),
        (["claimed 1 A", "saved 1 A", "claimed 2 B"], "the item had ended: saved"),
        (["claimed 1 A", "claimed 2 B"], f"{A} held it"),
        (["claimed 1 A", "expired 1", "claimed 1 B"], "the attempt before was 1"),
        (["claimed 1 A", "expired 1", "claimed 3 B"], "the attempt before was 1"),
        (["claimed 1 A", "released 1 A", "claimed 2 B"], "the attempt before was 0"),
        (["claimed 1 A", "released 1 B"], f"{B} did it, and {A} held it"),
        (["expired 1"], "nobody had claimed it"),
        (["claimed 1 A", "retried 1"], "it had not ended"),
        (["claimed 1 A", "saved 1 A", "retried 1", "claimed 1 B"], "the attempt before was 1"),
        (["claimed 1 A", "cancelled 1", "saved 1 A"], "the item had ended: cancelled"),
        (["cancelled 0", "cancelled 0"], "it was cancelled before"),
        (["claimed 1 A", "lost 1", "expired 1"], "the item had ended: lost"),
    ],
)
def test_what_may_not_happen_is_found_once_and_said(events: list[str], why: str) -> None:
    (line,) = broken_rules(history(*events))

    assert line == f"item 7, attempt {events[-1].split(' ')[1]}: {events[-1].split(' ')[0]}, but {why}"


def test_items_do_not_disturb_each_other() -> None:
    mixed = [Event(Said.CLAIMED, 1, 1, A), Event(Said.CLAIMED, 2, 1, B), Event(Said.SAVED, 1, 1, A)]

    assert broken_rules(mixed) == []
    assert unfinished(mixed) == {2}


@pytest.mark.parametrize(
    "events",
    [
        ["claimed 1 A", "claimed 1 B", "saved 1 B"],  # A was killed before its commit
        ["claimed 1 A", "saved 1 A", "saved 1 A"],  # the first commit failed
    ],
)
def test_lines_whose_commit_may_have_failed_are_borne_with_where_nobody_knows(events: list[str]) -> None:
    assert broken_rules(history(*events), is_committed=False) == []
    assert broken_rules(history(*events)) != []


def test_what_was_committed_must_have_been_said_by_whoever_did_it() -> None:
    committed = history("claimed 1 A", "expired 1", "claimed 2 B", "saved 2 B")

    assert unsaid(committed, history("claimed 1 A", "expired 1", "claimed 2 B", "saved 2 B", "saved 1 A")) == []
    assert unsaid(committed, history("claimed 1 A", "expired 1", "claimed 2 B", "saved 1 A")) == [
        f"item 7, attempt 2: nobody said that {B} saved it"
    ]
    assert unsaid(history("saved 1 A"), history("lost 1")) == []


def test_the_journal_and_what_is_said_agree(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[Event] = []
    listen(monkeypatch, said)
    keep_journal(database)
    job_ids = [a_job(database, [preference("formal")] * 3) for _ in range(2)]
    owners = [uuid.UUID(int=number) for number in range(1, 4)]

    with database.transaction() as session:
        claimed = [
            claims.claim(session, owner=owner, model_digest=DIGEST, limit=1, lease_seconds=seconds)[0]
            for owner, seconds in zip(owners, (60, 60, -1), strict=True)
        ]
    with database.transaction() as session:
        outcome = Outcome(claimed[0].item_id, claimed[0].attempt, text="text")
        claims.save(session, owner=owners[0], outcomes=[outcome])
        claims.save(session, owner=owners[1], outcomes=[outcome])  # not its own: nothing happens, nothing is said
        claims.release(session, owner=owners[1], attempts=[claimed[1].attempt_key])
        losses.expire(session)
        cancel(session, job_ids[1])
    wind_up(database, job_ids[1])

    with database.reading() as session:
        committed, strange = read_journal(session)
    assert strange == broken_rules(committed) == unsaid(committed, said) == []
    assert sorted(committed) == sorted(said)
    assert [event.said for event in committed].count(Said.CANCELLED) == 3


def test_what_is_retried_is_said_and_has_another_attempt(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Event] = []
    listen(monkeypatch, said)
    keep_journal(database)
    job_id, owner = a_job(database), uuid.UUID(A)

    for error_code in ("too_long", None):
        with database.transaction() as session:
            (item,) = claims.claim(session, owner=owner, model_digest=DIGEST, limit=1, lease_seconds=60)
            text = None if error_code else "text"
            outcome = Outcome(item.item_id, item.attempt, text=text, error_code=error_code)
            claims.save(session, owner=owner, outcomes=[outcome])
        if error_code:
            with database.transaction() as session:
                assert retrying.retry(session, job_id) is not None

    with database.reading() as session:
        committed, strange = read_journal(session)
    assert strange == broken_rules(committed) == unsaid(committed, said) == []
    assert [event[:3:2] for event in committed] == [
        *((Said.CLAIMED, 1), (Said.SAVED, 1), (Said.RETRIED, 1), (Said.CLAIMED, 2), (Said.SAVED, 2))
    ]


def listen(monkeypatch: pytest.MonkeyPatch, said: list[Event]) -> None:
    """Collect what is said instead of logging it."""

    def say(what: Said, attempts: list[tuple[int, int]], owner: uuid.UUID | None = None) -> None:
        said.extend(Event(what, item_id, number, owner.hex if owner else None) for item_id, number in attempts)

    for module in ("claims", "losses", "cancelling", "retrying"):
        monkeypatch.setattr(f"db.queries.{module}.say", say)


def test_logs_are_read_by_time_and_half_a_line_is_passed_over(tmp_path: Path) -> None:
    first, second = tmp_path / "worker-0.log", tmp_path / "worker-1.log"
    when = '{{"event": "attempts", "timestamp": "2026-01-01T00:00:0{}Z", '
    line = when + '"said": "{}", "owner": "{}", "attempts": [[7, {}]]}}\n'
    first.write_text(line.format(1, "claimed", A, 1) + line.format(4, "saved", A, 1) + '{"event": "attempts", "atte')
    second.write_text(line.format(2, "expired", A, 1) + "Traceback\n" + line.format(3, "claimed", B, 2))

    events = said_in([first, second])

    assert events == history("claimed 1 A", "expired 1 A", "claimed 2 B", "saved 1 A")
    assert broken_rules(events, is_committed=False) == ["item 7, attempt 1: saved, but the attempt was 2"]
