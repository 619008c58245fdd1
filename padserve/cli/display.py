"""What a terminal shows: lines, tables, progress and errors. Plain lines where the output is no terminal."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from padserve.errors import ApiError, PadserveError, StackError

if TYPE_CHECKING:
    from rich.console import Console

    from padserve.client.answers import Job

LINE_SECONDS = 5.0
MAX_ERRORS_SHOWN = 20
BAR_WIDTH = 24
ERRORS_FIELD = "`errors`"
UNLIMITED_WIDTH = 10_000


def say(console: "Console", text: str) -> None:
    """Print `text` as it is: no markup is read, nothing is coloured, no line is broken."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show(console: "Console", value: object, line: str, *, as_json: bool) -> None:
    """Print an answer: `line` for people, or `value` as JSON."""
    if as_json:
        show_json(console, value)
    else:
        say(console, line)


def show_json(console: "Console", value: object, *, indent: int | None = None) -> None:
    """Print a value that pydantic can serialise, or a list of such, as JSON: one line unless `indent` is given."""
    from pydantic_core import to_json

    say(console, to_json(value, indent=indent).decode())


def show_error(console: "Console", error: PadserveError) -> None:
    """Print an error: its message, then a line for each thing that is wrong, twenty at most."""
    title = str(error)
    if isinstance(error, ApiError) and error.errors and ERRORS_FIELD in title:  # written for who reads JSON
        title = "One thing is wrong:" if error.num_errors == 1 else f"{error.num_errors} things are wrong:"
    say(console, f"Error: {title}")
    lines = error.log_lines if isinstance(error, StackError) else ()
    num_left_out = 0
    if isinstance(error, ApiError):
        lines = tuple(str(line) for line in error.errors[:MAX_ERRORS_SHOWN])
        num_left_out = error.num_errors - len(lines)
    for line in lines:
        say(console, f"  {line}")
    if num_left_out > 0:
        say(console, f"  ... and {num_left_out} more.")


def show_text(console: "Console", text: str) -> None:
    """Print a text indented by two spaces; a terminal breaks its lines between words."""
    from rich.padding import Padding
    from rich.text import Text

    if console.is_terminal:
        console.print(Padding(Text(text), (0, 0, 0, 2)))
    else:
        for line in text.splitlines():
            say(console, f"  {line}")


def show_table(console: "Console", columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without frames, fitted to a terminal; elsewhere no cell is cut. The first column never is."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    longest = max(len(row[0]) for row in rows)
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=not (index and console.is_terminal), min_width=None if index else longest)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    width = console.width
    console.width = width if console.is_terminal else UNLIMITED_WIDTH
    console.print(table)
    console.width = width


def job_line(job: "Job") -> str:
    """How far a job is, in one line."""
    counts = job.counts
    parts = [f"{counts.ended} of {counts.total} items ({counts.percent_ended} %)"]
    if counts.failed:
        parts.append(f"{counts.failed} failed")
    if counts.cancelled:
        parts.append(f"{counts.cancelled} cancelled")
    if job.has_ended:
        return f"{job.state}: {', '.join(parts)}"
    if job.rate:
        parts.append(f"{job.rate:.1f} items/s")
    if job.eta_seconds is not None:
        parts.append(f"about {duration(job.eta_seconds)} left")
    if job.waiting_reason:
        parts.append(job.waiting_reason)
    return f"{job.state}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """A time span for people: 8 s, 2 min, 3 h 20 min. Rounded up: nothing is left is said when nothing is."""
    whole = math.ceil(seconds)
    if whole < 100:  # noqa: PLR2004 - below it, seconds are easier to grasp
        return f"{whole} s"
    minutes = math.ceil(whole / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - as above


@contextmanager
def job_progress(console: "Console", *, ended: bool = True) -> Iterator[Callable[["Job"], None]]:
    """A function that shows each new state of a job: a bar on a terminal, a line every few seconds elsewhere.

    The state it has ended in stays to be read in both, unless it need not be said.
    """
    if not console.is_terminal:
        yield _line_by_line(console) if ended else lambda _job: None
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    line_column = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    with Progress(BarColumn(BAR_WIDTH), line_column, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def update(job: "Job") -> None:
            counts = job.counts
            progress.update(task, total=counts.total, completed=counts.ended, description=job_line(job))
            if job.has_ended and ended:
                say(progress.console, job_line(job))

        yield update


def _line_by_line(console: "Console") -> Callable[["Job"], None]:
    last_line, last_time = "", -math.inf

    def update(job: "Job") -> None:
        nonlocal last_line, last_time
        line = job_line(job)
        if line != last_line and (job.has_ended or time.monotonic() - last_time >= LINE_SECONDS):
            last_line, last_time = line, time.monotonic()
            say(console, line)

    return update
