import datetime as dt
import io

import pytest
from rich.console import Console

from padserve.cli.display import duration, job_line, job_progress
from padserve.client.answers import Counts, Job


def a_job(succeeded: int, total: int, **changes: object) -> Job:
    counts = Counts(queued=total - succeeded, running=0, succeeded=succeeded, failed=0, cancelled=0, total=total)
    fields: dict[str, object] = {"state": "completed" if succeeded == total else "running", **changes}
    return Job(id="1", model="tiny", counts=counts, created_at=dt.datetime.now(dt.UTC), **fields)  # type: ignore[arg-type] # as the test says


def test_progress_is_never_rounded_up_to_everything() -> None:
    assert "99999 of 100000 items (99 %)" in job_line(a_job(99_999, 100_000))
    assert "(100 %)" in job_line(a_job(100_000, 100_000))


def test_a_bar_on_a_terminal_never_shows_100_percent_too_early() -> None:
    screen = io.StringIO()

    with job_progress(Console(file=screen, force_terminal=True, width=200)) as update:
        update(a_job(99_999, 100_000))

    assert "99 %" in screen.getvalue()
    assert "100 %" not in screen.getvalue()


def test_elsewhere_progress_is_plain_lines_and_each_is_said_once() -> None:
    output = io.StringIO()

    with job_progress(Console(file=output)) as update:
        for succeeded in (0, 0, 3, 3):
            update(a_job(succeeded, 3, rate=1.5, eta_seconds=2))

    assert output.getvalue() == (
        "running: 0 of 3 items (0 %), 1.5 items/s, about 2 s left\ncompleted: 3 of 3 items (100 %)\n"
    )


def test_a_job_that_waits_says_why() -> None:
    assert job_line(a_job(0, 3, state="queued", waiting_reason="No worker is running.")) == (
        "queued: 0 of 3 items (0 %), No worker is running."
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (99, "99 s"), (100, "2 min"), (7000, "117 min"), (12000, "3 h 20 min")]
)
def test_time_spans_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
