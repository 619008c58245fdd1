from collections.abc import Collection
from dataclasses import dataclass, field

from worker.engine.cache.memory import Ledger, Need
from worker.engine.cache.prefixes import PrefixKey, TicketId
from worker.engine.scheduler import (
    CALM_STEPS,
    MOST_OVERTAKEN,
    SMALLEST_PIECE,
    Plan,
    PrefillChunk,
    Scheduler,
    Ticket,
)
from worker.engine.streams import StreamWeights


@dataclass
class Prompts:
    """Prompts of 10 tokens, unless it says otherwise, and the prefixes that some of them miss."""

    num_tokens_of: dict[TicketId, int] = field(default_factory=dict)
    prefix_of: dict[TicketId, PrefixKey] = field(default_factory=dict)
    needs: dict[TicketId, Need] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)

    def missing_prefix(self, request_id: TicketId) -> Ticket | None:
        key = self.prefix_of.get(request_id)
        return None if key is None else Ticket(key, num_rows=1)

    def num_tokens(self, request_id: TicketId) -> int:
        return self.num_tokens_of.get(request_id, 10)

    def need(self, request_id: TicketId) -> Need:
        return self.needs.get(request_id, Need(10))

    def forget_prefixes(self) -> None:
        self.kept.clear()


PROMPTS = Prompts()


def scheduler(
    num_slots: int = 2,
    prefill_budget: int = 100,
    waiting: int = 0,
    admit_at_least: int = 1,
    cache_bytes: int | None = None,
) -> Scheduler:
    made = Scheduler(num_slots, prefill_budget, admit_at_least, Ledger(cache_bytes))
    for request_id in range(waiting):
        made.add(Ticket(request_id, num_rows=2))
    return made


def whole(*request_ids: TicketId, num_tokens: int = 10) -> tuple[PrefillChunk, ...]:
    return tuple(PrefillChunk(request_id, 0, num_tokens, is_last=True) for request_id in request_ids)


def prefix(num_tokens: int) -> PrefixKey:
    return PrefixKey(StreamWeights(0), tuple(range(num_tokens)))


def test_requests_are_admitted_in_order_while_slots_are_free() -> None:
    two_slots = scheduler(num_slots=2, waiting=3)

    plan = two_slots.schedule(PROMPTS)

    assert plan == Plan(decoding=(), chunks=whole(0, 1))
    assert plan.active == plan.joining == (0, 1)
    assert (two_slots.num_active, two_slots.num_waiting) == (2, 1)


def test_a_freed_slot_is_filled_at_the_next_step() -> None:
    two_slots = scheduler(num_slots=2, waiting=3)
    two_slots.schedule(PROMPTS)

    two_slots.remove({0})
    plan = two_slots.schedule(PROMPTS)

    assert plan == Plan(decoding=(1,), chunks=whole(2))
    assert plan.active == (1, 2)


def test_the_prompts_of_one_step_stay_within_the_budget() -> None:
    frugal = scheduler(num_slots=8, prefill_budget=40, waiting=3)  # 2 rows of 10 tokens each

    plans = [frugal.schedule(PROMPTS) for _ in range(3)]

    assert plans == [Plan((), whole(0, 1)), Plan((0, 1), whole(2)), Plan((0, 1, 2), ())]


def test_a_prompt_above_the_budget_is_read_in_pieces_while_others_decode() -> None:
    frugal = scheduler(num_slots=8, prefill_budget=30, waiting=1)
    frugal.schedule(PROMPTS)
    frugal.add(Ticket("long", num_rows=1))
    frugal.add(Ticket("next", num_rows=1))

    plans = [frugal.schedule(Prompts({"long": 70})) for _ in range(4)]

    assert plans == [
        Plan((0,), (PrefillChunk("long", 0, 30, is_last=False),)),
        Plan((0,), (PrefillChunk("long", 30, 60, is_last=False),)),
        Plan((0,), (PrefillChunk("long", 60, 70, is_last=True), *whole("next"))),
        Plan((0, "long", "next"), ()),
    ]


def test_a_request_begins_in_what_another_leaves_of_the_budget() -> None:
    frugal = scheduler(num_slots=8, prefill_budget=26, waiting=2)  # 20 tokens, then 6 for the 2 rows of the next

    plans = [frugal.schedule(PROMPTS) for _ in range(2)]

    assert plans[0] == Plan((), (*whole(0), PrefillChunk(1, 0, 3, is_last=False)))
    assert plans[1] == Plan((0,), (PrefillChunk(1, 3, 10, is_last=True),))


def test_a_budget_below_the_number_of_streams_reads_one_token_of_each() -> None:
    frugal = scheduler(num_slots=8, prefill_budget=1, waiting=2)

    plans = [frugal.schedule(PROMPTS) for _ in range(11)]

    assert plans[0].chunks == (PrefillChunk(0, 0, 1, is_last=False),)
    assert plans[9].chunks == (PrefillChunk(0, 9, 10, is_last=True),)
    assert plans[10] == Plan((0,), (PrefillChunk(1, 0, 1, is_last=False),))


def test_a_half_read_request_has_a_slot() -> None:
    one_slot = scheduler(num_slots=1, prefill_budget=4, waiting=2)

    one_slot.schedule(PROMPTS)

    assert (one_slot.num_active, one_slot.num_waiting) == (1, 1)


def test_where_a_step_is_dear_several_slots_are_filled_together() -> None:
    patient = scheduler(num_slots=4, waiting=9, admit_at_least=2)
    patient.schedule(PROMPTS)

    patient.remove({0})
    one_free = patient.schedule(PROMPTS)
    patient.remove({1})
    two_free = patient.schedule(PROMPTS)

    assert one_free == Plan((1, 2, 3), ())
    assert two_free == Plan((2, 3), whole(4, 5))


def test_the_last_who_wait_need_no_company() -> None:
    patient = scheduler(num_slots=4, waiting=5, admit_at_least=3)
    patient.schedule(PROMPTS)

    patient.remove({0})

    assert patient.schedule(PROMPTS).joining == (4,)


def test_an_idle_scheduler_waits_for_nobody() -> None:
    patient = scheduler(num_slots=4, waiting=0, admit_at_least=4)
    patient.add(Ticket("only", num_rows=1))

    assert patient.schedule(PROMPTS).joining == ("only",)


def test_a_prefix_is_read_first_and_who_waits_for_it_is_admitted_the_step_after() -> None:
    two_slots = scheduler(num_slots=2, waiting=2)
    key = prefix(30)

    reads_prefix = two_slots.schedule(Prompts({key: 30}, {0: key, 1: key}))
    admits = two_slots.schedule(PROMPTS)  # who now says that nothing is missing

    assert reads_prefix == Plan((), whole(key, num_tokens=30))
    assert reads_prefix.active == ()
    assert admits == Plan((), whole(0, 1))


def test_a_prefix_longer_than_the_budget_is_read_in_pieces_while_others_decode() -> None:
    frugal = scheduler(num_slots=2, prefill_budget=20, waiting=2)
    key = prefix(30)
    prompts = Prompts({key: 30}, {1: key})

    plans = [frugal.schedule(PROMPTS)] + [frugal.schedule(prompts) for _ in range(2)] + [frugal.schedule(PROMPTS)]

    assert plans == [
        Plan((), whole(0)),
        Plan((0,), (PrefillChunk(key, 0, 20, is_last=False),)),
        Plan((0,), (PrefillChunk(key, 20, 30, is_last=True),)),
        Plan((0,), whole(1)),
    ]


def test_waiting_half_read_and_decoding_requests_can_be_removed() -> None:
    frugal = scheduler(num_slots=3, prefill_budget=30, waiting=4)
    frugal.schedule(PROMPTS)  # 0 decodes, 1 is half-read

    frugal.remove({0, 1, 2, "unknown"})

    assert frugal.schedule(PROMPTS) == Plan((), whole(3))
    assert (frugal.num_active, frugal.num_waiting) == (1, 0)


def run_out_of_memory(scheduled: Scheduler, prompts: Prompts = PROMPTS) -> Collection[TicketId]:
    return set(scheduled.halve(scheduled.schedule(prompts)))


def test_halving_evicts_the_newest_who_then_wait_in_front_in_their_order() -> None:
    four_slots = scheduler(num_slots=4, waiting=5)
    four_slots.schedule(PROMPTS)

    evicted = run_out_of_memory(four_slots)

    assert evicted == {2, 3}
    assert four_slots.num_slots == 2
    four_slots.remove({0, 1})
    assert four_slots.schedule(PROMPTS).joining == (2, 3)


def test_halving_evicts_those_whose_prompts_were_not_run() -> None:
    four_slots = scheduler(num_slots=4, waiting=1)
    four_slots.schedule(PROMPTS)
    for request_id in (1, 2, 3):
        four_slots.add(Ticket(request_id, num_rows=1))

    evicted = run_out_of_memory(four_slots)

    assert evicted == {1, 2, 3}
    assert (four_slots.num_active, four_slots.num_waiting) == (1, 3)


def test_halving_evicts_who_is_half_read() -> None:
    frugal = scheduler(num_slots=4, prefill_budget=30, waiting=3)
    frugal.schedule(PROMPTS)  # 0 decodes, 1 is half-read

    evicted = run_out_of_memory(frugal)

    assert evicted == {1, 2}
    assert frugal.num_slots == 1
    frugal.remove({0})
    assert frugal.schedule(PROMPTS).chunks == whole(1)


def test_halving_forgets_a_prefix_that_is_read_but_not_who_waits_for_it() -> None:
    frugal = scheduler(num_slots=4, prefill_budget=20, waiting=2)
    frugal.schedule(PROMPTS)
    key = prefix(30)

    evicted = run_out_of_memory(frugal, Prompts({key: 30}, {1: key}))

    assert evicted == {key}
    assert (frugal.num_active, frugal.num_waiting) == (1, 1)
    frugal.remove({0})
    assert [chunk.request_id for chunk in frugal.schedule(PROMPTS).chunks] == [1]


def test_one_slot_always_remains() -> None:
    one_slot = scheduler(num_slots=1, waiting=1)
    one_slot.schedule(PROMPTS)

    run_out_of_memory(one_slot)

    assert one_slot.num_slots == 1


def test_requests_are_admitted_while_the_cache_has_room_for_all_that_they_will_need() -> None:
    small = scheduler(num_slots=8, waiting=5, cache_bytes=35)  # 10 each

    assert small.schedule(PROMPTS).joining == (0, 1, 2)
    small.remove({1})
    assert small.schedule(PROMPTS).joining == (3,)


def test_who_waits_for_room_is_overtaken_by_smaller_ones_but_not_for_long() -> None:
    small = scheduler(num_slots=8, prefill_budget=10_000, cache_bytes=100)
    prompts = Prompts(needs={"large": Need(95)})
    for name in ("first", "second"):
        small.add(Ticket(name, num_rows=1))
    small.schedule(prompts)
    small.add(Ticket("large", num_rows=1))
    for request_id in range(3 * MOST_OVERTAKEN):
        small.add(Ticket(request_id, num_rows=1))

    joined, active = list[TicketId](), list[TicketId](["first", "second"])
    while "large" not in joined:
        small.remove({active.pop(0)})
        joining = small.schedule(prompts).joining
        joined += joining
        active += joining

    assert joined == [*range(MOST_OVERTAKEN), "large"]


def test_one_that_fits_nowhere_is_run_alone_and_kept_prefixes_make_way() -> None:
    small = scheduler(waiting=2, cache_bytes=15)
    prompts = Prompts(needs={0: Need(12)}, kept={1: 10})

    assert small.schedule(prompts).joining == (0,)
    assert not prompts.kept


def test_a_prefix_for_which_there_is_no_room_is_not_read_ahead() -> None:
    small = scheduler(num_slots=2, waiting=2, cache_bytes=20)
    key = prefix(30)

    plan = small.schedule(Prompts({key: 30}, {0: key, 1: key}, {key: Need(30)}))

    assert plan.joining == (0, 1)


def test_a_cache_that_was_full_once_is_filled_again() -> None:
    small = scheduler(num_slots=4, prefill_budget=40, waiting=2, cache_bytes=100)  # for four prompts
    prompts = Prompts(needs={0: Need(90), 1: Need(90)})
    small.schedule(prompts)
    small.remove({0, 1})

    for request_id in range(2, 9):
        small.add(Ticket(request_id, num_rows=1))

    assert small.schedule(prompts).joining == (2, 3, 4, 5)
    small.remove({2})
    assert small.schedule(prompts).joining == (6,)


def test_slots_and_pieces_come_back_step_by_step_and_later_after_each_lack() -> None:
    lacking = scheduler(num_slots=16, prefill_budget=400, waiting=16)
    lacking.halve(lacking.schedule(PROMPTS))
    assert (lacking.num_slots, lacking.prefill_budget) == (8, 160)

    grown = []
    for _ in range(4 * 2 * CALM_STEPS):
        lacking.succeed()
        grown.append(lacking.num_slots)

    assert sorted(set(grown)) == [8, 10, 12, 14, 16]
    assert grown.index(10) == 2 * CALM_STEPS - 1
    assert (lacking.num_slots, lacking.prefill_budget) == (16, 400)


def test_pieces_are_halved_down_to_the_smallest() -> None:
    lacking = scheduler(num_slots=1, prefill_budget=100, waiting=1)
    prompts = Prompts({0: 1000})

    sizes = []
    while lacking.can_read_less(plan := lacking.schedule(prompts)):
        sizes.append(plan.chunks[0].end)
        lacking.halve(plan)

    assert sizes == [50, 25]
    assert plan.chunks[0].end <= SMALLEST_PIECE
