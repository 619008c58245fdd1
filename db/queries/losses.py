"""What becomes of items whose worker or engine was lost while it held them.

A lease that runs out uses nothing up: the worker was killed, paused or cut off, and the item may have been any of a
hundred that it held. The item is queued again. Two things end an item as `worker_lost`:

* `max_deaths` attempts in which its engine died while it decoded this item, as the worker saw that outlived it. Which
  of several items was to blame within one attempt is for triage to find out (`worker.supervision.triage`). Where it is
  kept from that, attempt after attempt, because leases are lost meanwhile, the neighbours of the guilty one die as
  often as it does: what died in company has MAX_SHARED_DEATHS.
* MAX_SILENT_LEASES leases that ran out one after the other, with no word of any of them. Nobody is left to blame the
  item where it takes the whole worker with it, and without a bound it would go on to the next for ever. Twenty:
  an innocent item would have to be held by that many workers that were killed one after the other.
"""

import uuid
from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import Item
from db.queries.counters import settle
from db.queries.held_items import Held, end_items, lock_held, requeue
from db.queries.history import Said, say
from db.session import clock
from domain.attempts import Attempt, Outcome
from domain.states import ItemState

EXPIRED_PER_SWEEP = 1000
MAX_DEATHS = 5
MAX_SHARED_DEATHS = 20
MAX_SILENT_LEASES = 20
WORKER_LOST = "worker_lost"


def expire(session: Session, *, max_silent_leases: int = MAX_SILENT_LEASES) -> int:
    """Take back items whose lease ran out and queue them again, but for those that nobody survives. How many it took.

    In no order: rows that others hold are passed over, so that it waits for nobody.
    """
    overdue = (
        select(Item.id, Item.attempt, Item.job_id)
        .where(Item.state == ItemState.RUNNING, Item.lease_until < clock())
        .limit(EXPIRED_PER_SWEEP)
        .with_for_update(skip_locked=True)
    )
    lost = [Held(*row) for row in session.execute(overdue)]
    silent = {one.item_id: one for one in lost if one.number >= max_silent_leases}
    message = f"{max_silent_leases} workers took this item, and none of them was heard of again."
    outcomes = [_lost(one, message) for one in silent.values()]
    expired = [one for one in lost if one.item_id not in silent]
    say(Said.EXPIRED, (one.attempt for one in expired))
    say(Said.LOST, (one.attempt for one in silent.values()))
    moved = requeue(session, expired)
    settle(session, moved + end_items(session, silent, outcomes))
    return len(lost)


def record_deaths(
    session: Session, *, owner: uuid.UUID, attempts: Iterable[Attempt], max_deaths: int = MAX_DEATHS
) -> set[Attempt]:
    """Note that the engine died while it decoded these attempts of `owner` together; call it once for an attempt.

    Items that have died often enough end here, and their attempts are returned: they are held no longer. The others
    stay with their owner.
    """
    together = set(attempts)
    if len(together) > 1:
        max_deaths = max(max_deaths, MAX_SHARED_DEATHS)
    held = {one.item_id: one for one in lock_held(session, owner=owner, attempts=together)}
    if not held:
        return set()
    deaths = session.execute(
        update(Item)
        .where(Item.id.in_(list(held)))
        .values(num_deaths=Item.num_deaths + 1)
        .returning(Item.id, Item.num_deaths),
        execution_options={"synchronize_session": False},
    )
    fatal = [held[item_id] for item_id, num_deaths in deaths if num_deaths >= max_deaths]
    say(Said.DIED, (one.attempt for one in held.values()), owner)
    say(Said.LOST, (one.attempt for one in fatal), owner)
    message = f"The engine died in each of {max_deaths} attempts at this item."
    settle(session, end_items(session, held, [_lost(one, message) for one in fatal]))
    return {one.attempt for one in fatal}


def _lost(held: Held, message: str) -> Outcome:
    return Outcome(held.item_id, held.number, error_code=WORKER_LOST, error_message=message)
