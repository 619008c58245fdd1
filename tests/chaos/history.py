"""What happened to each attempt, event by event, held against the state machine of an item. Pure but for `main`.

The events are those of `db.queries.history`. They come from two places that know different things: the database's own
journal (`tests.chaos.journal`) holds what was committed, in order, and the logs of the processes who did it and for
which attempt. `python -m tests.chaos.history LOG...` checks logs alone.
"""

import json
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

from db.queries.history import Said

ENDS = frozenset({Said.SAVED, Said.LOST, Said.CANCELLED})


class Event(NamedTuple):
    """One thing that happened to one attempt; the owner where a worker did it to what it holds."""

    said: Said
    item_id: int
    number: int
    owner: str | None = None


class _Entry(TypedDict):
    """A line of a log that speaks of attempts."""

    event: str
    timestamp: str
    said: str
    owner: str | None
    attempts: list[tuple[int, int]]


@dataclass(slots=True)
class _Item:
    """Where one item stands after the events so far."""

    attempt: int = 0
    holder: str | None = None
    is_held: bool = False
    end: Said | None = None
    last: Event | None = None


def broken_rules(events: Iterable[Event], *, is_committed: bool = True) -> list[str]:
    """A line for each event that may not follow on those before it; empty: the history is clean.

    Where it is not known what was committed, an event that was said again, and a claim that was made again under the
    same number, count as one whose first commit failed.
    """
    items: dict[int, _Item] = {}
    broken = []
    for event in events:
        item = items.setdefault(event.item_id, _Item())
        is_repeated = event == item.last or (event.said is Said.CLAIMED and event.number == item.attempt)
        if is_committed or not is_repeated:
            rule = _broken_rule(item, event)
            if rule is not None:
                broken.append(f"item {event.item_id}, attempt {event.number}: {event.said}, but {rule}")
        _follow(item, event)
    return broken


def _broken_rule(item: _Item, event: Event) -> str | None:
    """Why this event may not come now."""
    if event.said is Said.CANCELLED:
        return "it was cancelled before" if item.end is Said.CANCELLED else None
    if event.said is Said.RETRIED:
        return "it had not ended" if item.end is None else None
    if item.end is not None:
        return f"the item had ended: {item.end}"
    return _broken_claim(item, event) if event.said is Said.CLAIMED else _broken_hold(item, event)


def _broken_claim(item: _Item, event: Event) -> str | None:
    if item.is_held:
        return f"{item.holder} held it"
    return None if event.number == item.attempt + 1 else f"the attempt before was {item.attempt}"


def _broken_hold(item: _Item, event: Event) -> str | None:
    """Why nobody may do this to the attempt: it is not held, it is another, or another holds it."""
    if not item.is_held:
        return "nobody had claimed it"
    if event.number != item.attempt:
        return f"the attempt was {item.attempt}"
    return None if event.owner in {None, item.holder} else f"{event.owner} did it, and {item.holder} held it"


def _follow(item: _Item, event: Event) -> None:
    item.last = event
    if event.said is Said.DIED:
        return
    item.is_held = event.said is Said.CLAIMED
    item.holder = event.owner if item.is_held else None
    item.attempt = event.number - 1 if event.said is Said.RELEASED else event.number
    if event.said in ENDS:
        item.end = event.said
    elif event.said is Said.RETRIED:
        item.end = None


def unfinished(events: Iterable[Event]) -> set[int]:
    """The items that were claimed, or tried again, and have not ended since."""
    is_open: dict[int, bool] = {}
    for event in events:
        is_open[event.item_id] = event.said not in ENDS and (event.said is not Said.DIED or is_open[event.item_id])
    return {item_id for item_id, still in is_open.items() if still}


def unsaid(committed: Iterable[Event], said: Iterable[Event]) -> list[str]:
    """What was committed, and nobody said that it did it: the work of somebody who held another attempt.

    Every line is written before its commit, so that also a process that was killed has said what it did.
    """
    known = {event if event.said in {Said.CLAIMED, Said.SAVED, Said.RELEASED} else event[:3] for event in said}
    return [
        f"item {event.item_id}, attempt {event.number}: nobody said that {event.owner} {event.said} it"
        for event in committed
        if event not in known
        and event[:3] not in known
        and not (event.said is Said.SAVED and _is_ended_otherwise(event, known))
    ]


def _is_ended_otherwise(event: Event, known: Collection[tuple[object, ...]]) -> bool:
    """The journal cannot tell by whom a running item was failed: its worker, a sweep, or the end of its job."""
    return any((said, event.item_id, event.number) in known for said in (Said.LOST, Said.CANCELLED))


def said_in(logs: Iterable[Path]) -> list[Event]:
    """What processes said in their logs, by the clock of their machine."""
    entries = sorted((entry for log in logs for entry in _entries(log)), key=lambda entry: entry["timestamp"])
    return [
        Event(Said(entry["said"]), item_id, number, entry["owner"])
        for entry in entries
        for item_id, number in entry["attempts"]
    ]


def _entries(log: Path) -> Iterator[_Entry]:
    """The lines that speak of attempts; a process that was killed may have left half a line."""
    for line in log.read_text(errors="replace").splitlines():
        if '"attempts"' not in line:
            continue
        try:
            entry: _Entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry.get("event") == "attempts":
            yield entry


def main() -> int:
    """Check the logs that are named on the command line."""
    events = said_in(Path(name) for name in sys.argv[1:])
    broken = broken_rules(events, is_committed=False)
    sys.stdout.writelines(f"{line}\n" for line in [*broken, f"{len(events)} events, {len(broken)} broken rules"])
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
