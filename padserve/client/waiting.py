"""How a client waits for a job: when it asks again, when it gives up, and what it shows meanwhile."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from padserve.client.answers import Job
from padserve.errors import JobTimeoutError

FIRST_POLL_SECONDS = 0.2
MAX_POLL_SECONDS = 2.0
POLL_GROWTH = 1.5


class Waiting:
    """The pauses of one wait for a job: they grow from poll to poll."""

    def __init__(self, job_id: str, timeout_seconds: float | None) -> None:
        self._job_id = job_id
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._pause = FIRST_POLL_SECONDS / POLL_GROWTH

    def next_pause(self, job: Job) -> float:
        """How long until the job is asked for again; raises `JobTimeoutError` when it has been long enough."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            ended, total = job.counts.ended, job.counts.total
            raise JobTimeoutError(f"Job {self._job_id} has not ended: {ended} of {total} items have.")
        self._pause = min(self._pause * POLL_GROWTH, MAX_POLL_SECONDS)
        return self._pause


@contextmanager
def shown_progress(on_progress: Callable[[Job], None] | None, *, progress: bool) -> Iterator[Callable[[Job], None]]:
    """A function that shows each answer to whoever wants to see it: a bar on standard error with `progress`."""
    with ExitStack() as stack:
        shows = [] if on_progress is None else [on_progress]
        if progress:
            from rich.console import Console  # noqa: PLC0415 - only who wants a bar needs it

            from padserve.cli.display import job_progress  # noqa: PLC0415 - as above

            shows.append(stack.enter_context(job_progress(Console(stderr=True))))

        def show(job: Job) -> None:
            for each in shows:
                each(job)

        yield show
