import pytest

from padserve.stack.supervision import EndStack, LeaveStopped, Restart, Role, after_exit


@pytest.mark.parametrize("exit_code", [0, 1, -9])
def test_the_stack_ends_with_a_process_it_cannot_be_without(exit_code: int) -> None:
    assert after_exit(Role.ESSENTIAL, exit_code, has_served=True, num_restarts=0) == EndStack()


def test_a_worker_that_refuses_to_start_is_not_started_again() -> None:
    assert after_exit(Role.REPLACEABLE, 1, has_served=False, num_restarts=0) == LeaveStopped()


@pytest.mark.parametrize(("exit_code", "has_served"), [(1, True), (-9, False), (-11, True), (0, False)])
def test_a_worker_that_was_lost_is_started_again(exit_code: int, *, has_served: bool) -> None:
    assert isinstance(after_exit(Role.REPLACEABLE, exit_code, has_served=has_served, num_restarts=0), Restart)


def test_the_pause_before_a_restart_doubles_up_to_half_a_minute() -> None:
    verdicts = [after_exit(Role.REPLACEABLE, -9, has_served=False, num_restarts=number) for number in range(7)]

    assert verdicts == [Restart(seconds) for seconds in (1, 2, 4, 8, 16, 30, 30)]
