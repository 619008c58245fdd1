"""What a worker counts. Each is counted where it happens, once what it tells of is committed."""

import math
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import replace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from domain.attempts import ClaimedItem, Outcome
from domain.engine_load import EngineLoad
from domain.states import ItemState
from telemetry.metrics import CountedHistogram, new_registry
from worker.supervision.statistics import Statistics

WAITS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
STATEMENTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
DIED, FELL_SILENT = "died", "fell silent"
ITEMS, FITS = "items", "fits"

CLAIMS = Counter("padserve_claims_total", "Claims that found items.", registry=None)
CLAIMED_ITEMS = Counter("padserve_claimed_items_total", "Attempts that were begun.", registry=None)
RECLAIMED_ITEMS = Counter(
    "padserve_reclaimed_items_total", "Attempts that were begun at items with an attempt before.", registry=None
)
CLAIM_SECONDS = Histogram(
    "padserve_claim_duration_seconds", "Time that a claim that found items took.", buckets=STATEMENTS, registry=None
)
QUEUE_WAIT_SECONDS = CountedHistogram(
    "padserve_queue_wait_seconds",
    "Time that items waited for their first attempt, since their job could begin.",
    WAITS,
)
ENDED_ITEMS = Counter("padserve_ended_items_total", "Items that this worker has ended.", ["state"], registry=None)
STALE_WRITES = Counter(
    "padserve_stale_writes_refused_total",
    "Outcomes that were not saved, because their attempt was no longer this worker's.",
    registry=None,
)
SAVE_SECONDS = Histogram(
    "padserve_save_duration_seconds", "Time that a save of outcomes took.", buckets=STATEMENTS, registry=None
)
RELEASED_ITEMS = Counter("padserve_released_items_total", "Attempts that were given back untried.", registry=None)
LOST_LEASES = Counter(
    "padserve_lost_leases_total", "Attempts that were taken from this worker while it held them.", registry=None
)
EXPIRED_LEASES = Counter(
    "padserve_expired_leases_total",
    "Leases, of whichever worker, that ran out and that this worker's reconciler took back.",
    ["of"],
    registry=None,
)
MENDED_COUNTERS = Counter(
    "padserve_mended_counters_total", "Jobs whose counters an audit found wrong and put right.", registry=None
)
ENGINE_RESTARTS = Counter(
    "padserve_engine_restarts_total", "Engine processes that were lost and started again.", ["reason"], registry=None
)
GENERATED_TOKENS = Counter("padserve_generated_tokens_total", "Tokens of the answers that were saved.", registry=None)
PROMPT_TOKENS = Counter("padserve_prompt_tokens_total", "Tokens of the prompts of those answers.", registry=None)
TOKENS_PER_SECOND = Gauge(
    "padserve_decoding_tokens_per_second",
    "Tokens of answers per second, over the times in which every slot was taken; NaN before there was one.",
    registry=None,
)
SLOTS = Gauge("padserve_slots", "Texts that the engine decodes at once.", registry=None)
SLOTS_IN_USE = Gauge("padserve_slots_in_use", "Texts that it decodes now.", registry=None)
WAITING_FOR_SLOT = Gauge("padserve_waiting_for_slot", "Texts inside the engine that wait for a slot.", registry=None)
CACHE_RESERVED = Gauge("padserve_cache_reserved_bytes", "Memory of the key-value cache.", registry=None)
CACHE_USED = Gauge("padserve_cache_used_bytes", "Of that, what holds tokens.", registry=None)
CACHE_TOKENS = Gauge("padserve_cache_tokens", "Tokens in the key-value cache, over all streams.", registry=None)
STEPS = Counter("padserve_engine_steps_total", "Steps of the engine.", registry=None)
SLOT_STEPS = Counter(
    "padserve_engine_slot_steps_total",
    "Texts in a slot, added up over the steps: by steps and slots, how full the batches were.",
    registry=None,
)
READ_TOKENS = Counter(
    "padserve_prompt_tokens_read_total", "Tokens of prompts that were run, over all streams.", registry=None
)
REUSED_TOKENS = Counter(
    "padserve_prompt_tokens_reused_total",
    "Tokens of prompts that were not run, because a shared prefix held them.",
    registry=None,
)

COLLECTORS = (
    *(CLAIMS, CLAIMED_ITEMS, RECLAIMED_ITEMS, CLAIM_SECONDS, QUEUE_WAIT_SECONDS, ENDED_ITEMS, STALE_WRITES),
    *(SAVE_SECONDS, RELEASED_ITEMS, LOST_LEASES, EXPIRED_LEASES, MENDED_COUNTERS, ENGINE_RESTARTS),
    *(GENERATED_TOKENS, PROMPT_TOKENS, TOKENS_PER_SECOND, SLOTS, SLOTS_IN_USE, WAITING_FOR_SLOT),
    *(CACHE_RESERVED, CACHE_USED, CACHE_TOKENS, STEPS, SLOT_STEPS, READ_TOKENS, REUSED_TOKENS),
)


def registry() -> CollectorRegistry:
    """All of it, with a 0 for what has not happened yet: a series that begins with 1 shows no increase."""
    for state in (ItemState.SUCCEEDED, ItemState.FAILED):
        ENDED_ITEMS.labels(state.value)
    for reason in (DIED, FELL_SILENT):
        ENGINE_RESTARTS.labels(_label(reason))
    for kind in (ITEMS, FITS):
        EXPIRED_LEASES.labels(kind)
    return new_registry(COLLECTORS)


def serve(host: str, port: int) -> None:
    """Show it at `/metrics` of a port of its own, from a thread of its own; raises OSError where the port is taken."""
    start_http_server(port, addr=host, registry=registry())


def tell_speed(tokens_per_second: Callable[[], float | None]) -> None:
    """Have the gauge of the speed ask this at each scrape: tokens per second, or None where nothing is known."""
    TOKENS_PER_SECOND.set_function(lambda: math.nan if (speed := tokens_per_second()) is None else speed)


def count_claim(items: Sequence[ClaimedItem], seconds: float) -> None:
    """Count a claim of these items that took `seconds`; one that found none is not counted."""
    if not items:
        return
    CLAIMS.inc()
    CLAIM_SECONDS.observe(seconds)
    CLAIMED_ITEMS.inc(len(items))
    waits = Tally(item.waited_seconds for item in items if item.attempt == 1)  # equal for all items of a job
    RECLAIMED_ITEMS.inc(len(items) - waits.total())
    for wait, num_items in waits.items():
        if wait is not None:
            QUEUE_WAIT_SECONDS.observe(max(wait, 0.0), num_items)


def count_save(outcomes: Sequence[Outcome], num_stale: int, seconds: float) -> None:
    """Count a committed save: outcomes that were stored, the number that were refused as stale, and the seconds."""
    SAVE_SECONDS.observe(seconds)
    STALE_WRITES.inc(num_stale)
    num_failed = sum(outcome.error_code is not None for outcome in outcomes)
    ENDED_ITEMS.labels(ItemState.SUCCEEDED.value).inc(len(outcomes) - num_failed)
    ENDED_ITEMS.labels(ItemState.FAILED.value).inc(num_failed)
    GENERATED_TOKENS.inc(sum(outcome.num_completion_tokens or 0 for outcome in outcomes))
    PROMPT_TOKENS.inc(sum(outcome.num_prompt_tokens or 0 for outcome in outcomes))


def count_lost_engine(why: str) -> None:
    """An engine process was lost: DIED or FELL_SILENT."""
    ENGINE_RESTARTS.labels(_label(why)).inc()


def _label(why: str) -> str:
    return why.replace(" ", "_")


class EngineMeter:
    """Turns what engine processes say, one after the other, into totals that never go back."""

    def __init__(self) -> None:
        self._last = Statistics()
        self.load = EngineLoad()
        """As it was last said; read by other threads."""

    def begin(self, now: Statistics) -> None:
        """A new process has begun, whose totals begin with `now`: nothing of it is counted yet."""
        self._last = now
        self._show(now)

    def measure(self, now: Statistics) -> None:
        """Count what the process has done since it was last measured; `now` holds its totals since its start."""
        STEPS.inc(now.total_steps - self._last.total_steps)
        SLOT_STEPS.inc(now.total_slot_steps - self._last.total_slot_steps)
        READ_TOKENS.inc(now.total_prompt_tokens_read - self._last.total_prompt_tokens_read)
        REUSED_TOKENS.inc(now.total_prompt_tokens_reused - self._last.total_prompt_tokens_reused)
        self._last = now
        self._show(now)

    def rest(self) -> None:
        """Show that no request is in a slot and none waits: the engine has nothing to do, or is gone."""
        SLOTS_IN_USE.set(0)
        WAITING_FOR_SLOT.set(0)
        self.load = replace(self.load, num_active=0, num_waiting=0)

    def _show(self, now: Statistics) -> None:
        self.load = EngineLoad(
            *(now.num_slots, now.num_active, now.num_waiting),
            *(now.cache_bytes_reserved, now.cache_bytes_used, now.cache_bytes_budget),
        )
        SLOTS.set(now.num_slots)
        SLOTS_IN_USE.set(now.num_active)
        WAITING_FOR_SLOT.set(now.num_waiting)
        CACHE_RESERVED.set(now.cache_bytes_reserved)
        CACHE_USED.set(now.cache_bytes_used)
        CACHE_TOKENS.set(now.cache_tokens)
