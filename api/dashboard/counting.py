"""How jobs went, counted in parts: each look counts for a moment only, and of a part that has ended, never again.

A part is a range of positions. Of a job of a million items the first look counts some of them, and the next go on.
"""

import datetime as dt
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from api.dashboard.charts import Chart, bucket_seconds, progress_chart
from api.submissions.planning import UNGUIDED
from db.queries import job_pages
from db.queries.job_pages import Ends, Side
from db.queries.jobs import Counts, JobRecord
from domain.states import ItemState

PART = 5_000
"""Positions that one statement counts."""
LOOK_SECONDS = 0.2
"""How long one look counts, beyond the part that it is at; one part at least."""
COUNT_SHARE = 0.1
"""At most so much of the time is spent counting one running job's ends."""
MAX_JOBS = 256

Sides = tuple[Side, Side]
"""Guided and unguided."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How a job went, as far as it was counted."""

    chart: Chart
    sides: Sides | None
    """None where no users are held out."""
    share: float
    """Of the job's items, how many have been counted; 1 is all."""
    is_behind: bool
    """Another look would count more, whether or not anything moves."""


@dataclass(slots=True)
class _Part:
    ends: Ends
    sides: Sides | None
    counted_at: float


@dataclass(slots=True)
class _Counting:
    """One job's parts, by their number."""

    since: dt.datetime
    step: int
    counts: Counts
    finished_at: dt.datetime | None
    parts: dict[int, _Part] = field(default_factory=dict)
    good_until: float = 0.0

    def fits(self, job: JobRecord, since: dt.datetime, step: int) -> bool:
        """Whether what was counted is still so: nothing that had ended is open again, by a retry."""
        is_reopened = job.counts.failed < self.counts.failed or self.finished_at not in {None, job.finished_at}
        return self.since == since and step % self.step == 0 and not is_reopened

    def coarsen(self, step: int) -> None:
        """Longer stretches of time, each some of the former."""
        ratio, self.step = step // self.step, step
        for part in self.parts.values() if ratio > 1 else ():
            merged: Counter[tuple[int, ItemState]] = Counter()
            for (number, state), count in part.ends.items():
                merged[number // ratio, state] += count
            part.ends = dict(merged)


class Charts:
    """The jobs that were looked at lately. Of one running job not more is counted than is seen."""

    def __init__(self) -> None:
        self._kept: OrderedDict[uuid.UUID, _Counting] = OrderedDict()

    def of(self, session: Session, job: JobRecord) -> Counted:
        """How the job went, counted a little further."""
        since, until = job.started_at or job.created_at, job.finished_at or job.read_at
        step = bucket_seconds(max((until - since).total_seconds(), 1.0))
        counting = self._kept.get(job.id)
        if counting is None or not counting.fits(job, since, step):
            counting = _Counting(since, step, job.counts, job.finished_at)
        self._kept[job.id] = counting
        self._kept.move_to_end(job.id)
        if len(self._kept) > MAX_JOBS:
            self._kept.popitem(last=False)
        counting.coarsen(step)
        num_parts = -(-job.counts.total // PART)
        has_moved = counting.counts != job.counts or counting.finished_at != job.finished_at
        is_due = job.finished_at is not None or time.monotonic() >= counting.good_until
        if len(counting.parts) < num_parts or (has_moved and is_due):
            _count(session, job, counting)
        return _summed(job, counting, num_parts, until)


def _count(session: Session, job: JobRecord, counting: _Counting) -> None:
    """Parts that were never counted first, then those that were longest ago, until the time is over."""
    began = time.monotonic()
    is_through = True
    for place, number in enumerate(_unended(job, counting)):
        if place and time.monotonic() >= began + LOOK_SECONDS:
            is_through = False
            break
        positions = _positions(job, number)
        ends = job_pages.ends_over_time(session, job.id, positions, since=counting.since, bucket_seconds=counting.step)
        sides = None
        if job.facts.holdout is not None:
            sides = job_pages.sides(session, job.id, positions, unguided_hash=UNGUIDED.hash)
        counting.parts[number] = _Part(ends, sides, time.monotonic())
    if is_through:
        counting.counts, counting.finished_at = job.counts, job.finished_at
        counting.good_until = time.monotonic() + (time.monotonic() - began) / COUNT_SHARE


def _unended(job: JobRecord, counting: _Counting) -> Iterator[int]:
    """The parts of which something may still end, or was not counted."""
    numbers = range(-(-job.counts.total // PART))

    def order(number: int) -> float:
        part = counting.parts.get(number)
        return 0.0 if part is None else part.counted_at

    for number in sorted(numbers, key=order):
        part = counting.parts.get(number)
        if part is None or sum(part.ends.values()) < len(_positions(job, number)):
            yield number


def _positions(job: JobRecord, number: int) -> range:
    return range(number * PART, min((number + 1) * PART, job.counts.total))


def _summed(job: JobRecord, counting: _Counting, num_parts: int, until: dt.datetime) -> Counted:
    ends: Counter[tuple[int, ItemState]] = Counter()
    sides: Sides = (Side(), Side())
    for part in counting.parts.values():
        ends.update(part.ends)
        if part.sides is not None:
            sides = sides[0] + part.sides[0], sides[1] + part.sides[1]
    chart = progress_chart(ends, since=counting.since, until=until, total=job.counts.total)
    share = len(counting.parts) / num_parts if num_parts else 1.0
    is_stale = job.finished_at is not None and (counting.counts, counting.finished_at) != (job.counts, job.finished_at)
    return Counted(chart, None if job.facts.holdout is None else sides, share, share < 1 or is_stale)
