"""A journal that the database keeps itself: every move of every item, in order, by a trigger. For tests only.

It sees whatever is committed, whoever does it and whatever they say. The row of an item is locked while it changes, so
the moves of one item are numbered in their order.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries.history import Said
from db.session import Database
from domain.states import ItemState
from tests.chaos.history import Event

_COLUMNS = "item_id, old_state, state, old_attempt, attempt, old_owner, owner"
_VALUES = "NEW.id, OLD.state, NEW.state, OLD.attempt, NEW.attempt, OLD.lease_owner, NEW.lease_owner"
_TABLE = (
    "CREATE TABLE test_journal (number {serial}, item_id BIGINT, old_state TEXT, state TEXT, old_attempt INT, "
    "attempt INT, old_owner {uuid}, owner {uuid})"
)
_INSERT = f"INSERT INTO test_journal ({_COLUMNS}) VALUES ({_VALUES})"  # noqa: S608 - names of our own
_UPDATED = "AFTER UPDATE OF state, attempt, lease_owner ON items FOR EACH ROW"

_POSTGRESQL = (
    _TABLE.format(serial="BIGSERIAL PRIMARY KEY", uuid="UUID"),
    f"CREATE FUNCTION write_test_journal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_INSERT}; RETURN NULL; END $$",
    f"CREATE TRIGGER test_journal {_UPDATED} EXECUTE FUNCTION write_test_journal()",
)
_SQLITE = (
    _TABLE.format(serial="INTEGER PRIMARY KEY AUTOINCREMENT", uuid="TEXT"),
    f"CREATE TRIGGER test_journal {_UPDATED} BEGIN {_INSERT}; END",
)
_READ = f"SELECT {_COLUMNS} FROM test_journal ORDER BY number"  # noqa: S608 - names of our own


def keep_journal(database: Database) -> None:
    """Begin the journal."""
    with database.transaction() as session:
        for statement in _SQLITE if database.url.get_backend_name() == "sqlite" else _POSTGRESQL:
            session.execute(text(statement))


def read_journal(session: Session) -> tuple[list[Event], list[str]]:
    """What was committed, in order; and a line for each move that is none of an item's."""
    events, strange = [], []
    for item_id, old_state, state, old_attempt, attempt, old_owner, owner in session.execute(text(_READ)):
        match old_state, state:
            case ItemState.QUEUED, ItemState.RUNNING:
                events.append(Event(Said.CLAIMED, item_id, attempt, _plain(owner)))
            case ItemState.RUNNING, ItemState.QUEUED if attempt == old_attempt - 1:
                events.append(Event(Said.RELEASED, item_id, old_attempt, _plain(old_owner)))
            case ItemState.RUNNING, ItemState.QUEUED if attempt == old_attempt:
                events.append(Event(Said.EXPIRED, item_id, attempt))
            case ItemState.RUNNING, (ItemState.SUCCEEDED | ItemState.FAILED) if attempt == old_attempt:
                events.append(Event(Said.SAVED, item_id, attempt, _plain(old_owner)))
            case ItemState.FAILED, ItemState.QUEUED if attempt == old_attempt:
                events.append(Event(Said.RETRIED, item_id, attempt))
            case (_, ItemState.CANCELLED) | (_, ItemState.FAILED) if attempt == old_attempt:
                events.append(Event(Said.CANCELLED, item_id, attempt))
            case _:
                strange.append(f"item {item_id}: from {old_state} {old_attempt} to {state} {attempt}")
    return events, strange


def _plain(owner: object) -> str:
    return str(owner).replace("-", "")
