from worker.engine.scheduler import Scheduler, Ticket


def scheduler(num_slots: int = 2, prefill_budget: int = 100, waiting: int = 0) -> Scheduler:
    made = Scheduler(num_slots, prefill_budget)
    for request_id in range(waiting):
        made.add(Ticket(request_id, num_rows=2, num_prompt_tokens=10))
    return made


def test_requests_are_admitted_in_order_while_slots_are_free() -> None:
    two_slots = scheduler(num_slots=2, waiting=3)

    plan = two_slots.schedule()

    assert plan.active == (0, 1)
    assert plan.admitted == {0, 1}
    assert (two_slots.num_active, two_slots.num_waiting) == (2, 1)


def test_a_freed_slot_is_filled_at_the_next_step() -> None:
    two_slots = scheduler(num_slots=2, waiting=3)
    two_slots.schedule()

    two_slots.remove({0})
    plan = two_slots.schedule()

    assert plan.active == (1, 2)
    assert plan.admitted == {2}


def test_the_padded_prompts_of_one_step_stay_within_the_budget() -> None:
    frugal = scheduler(num_slots=8, prefill_budget=40, waiting=3)  # 2 rows of 10 tokens each

    admitted = [frugal.schedule().admitted for _ in range(3)]

    assert admitted == [{0, 1}, {2}, frozenset()]


def test_the_budget_counts_padding() -> None:
    frugal = Scheduler(num_slots=8, prefill_budget=40)
    frugal.add(Ticket("short", num_rows=1, num_prompt_tokens=1))
    frugal.add(Ticket("long", num_rows=1, num_prompt_tokens=21))  # 22 tokens, but 42 once padded

    assert frugal.schedule().admitted == {"short"}


def test_a_prompt_above_the_budget_is_admitted_alone() -> None:
    frugal = scheduler(num_slots=8, prefill_budget=1, waiting=2)

    assert frugal.schedule().admitted == {0}
    assert frugal.schedule().admitted == {1}


def test_waiting_and_active_requests_can_be_removed() -> None:
    one_slot = scheduler(num_slots=1, waiting=3)
    one_slot.schedule()

    one_slot.remove({0, 2, "unknown"})

    assert one_slot.schedule().active == (1,)
    assert one_slot.num_waiting == 0


def test_halving_evicts_the_newest_who_then_wait_in_front_in_their_order() -> None:
    four_slots = scheduler(num_slots=4, waiting=5)
    four_slots.schedule()

    evicted = four_slots.halve(admitted=())

    assert evicted == (2, 3)
    assert four_slots.num_slots == 2
    four_slots.remove({0, 1})
    assert four_slots.schedule().active == (2, 3)


def test_halving_evicts_those_whose_prompts_were_not_run() -> None:
    four_slots = scheduler(num_slots=4, waiting=1)
    four_slots.schedule()
    for request_id in (1, 2, 3):
        four_slots.add(Ticket(request_id, num_rows=1, num_prompt_tokens=1))
    plan = four_slots.schedule()

    evicted = four_slots.halve(plan.admitted)

    assert evicted == (1, 2, 3)
    assert four_slots.num_active == 1


def test_one_slot_always_remains() -> None:
    one_slot = scheduler(num_slots=1, waiting=1)
    one_slot.schedule()

    one_slot.halve(admitted=())

    assert one_slot.num_slots == 1
