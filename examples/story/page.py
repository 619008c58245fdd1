"""How a demo shows texts, tables and its pace in a terminal; plain lines where the output is none."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from padserve import Job
from padserve.cli.display import say

INDENT = (0, 0, 0, 2)
WAY_ON = """
The job, its texts and the profiles are in {home}. To go on from there:

  {up}

and, in another terminal, while it runs:

  curl -s http://127.0.0.1:8000/v1/jobs \\
    -H "Authorization: Bearer $(cat {home}/api_key)" -H "Content-Type: application/json" \\
    -d '{{"prompt": "{prompt}", "audience": {{"tags": ["demo"]}}}}'
"""


def show_heading(console: Console, text: str) -> None:
    """What comes next."""
    console.print()
    console.print(Text(text, style="bold underline" if console.is_terminal else ""))
    console.print(Text("" if console.is_terminal else "-" * len(text)))


def show_texts(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Texts under one title, each behind its label."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for label, text in rows:
        grid.add_row(Text(label, style="dim"), Text(text))
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Padding(grid, INDENT))


def show_counts(
    console: Console, headings: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] | None = None
) -> None:
    """A table of numbers, and one more row that sums it up if there is one; the first column says what of."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(Text, row))
    if total is not None:
        table.add_row(*map(Text, total), style="bold")
    console.print(Padding(table, INDENT))


def show_throughput(console: Console, job: Job, num_texts: int, num_tokens: int) -> None:
    """Items and tokens per second, from the first claim to the last saved result."""
    if job.started_at is None or job.finished_at is None:
        return
    seconds = (job.finished_at - job.started_at).total_seconds()
    show_heading(console, "Throughput")
    say(
        console,
        f"  {num_texts} texts, {num_tokens} tokens in {seconds:.1f} s: {num_texts / seconds:.1f} texts/s, "
        f"{num_tokens / seconds:.0f} tokens/s, through the queue and the database.",
    )


def show_way_on(console: Console, home: Path, up: str, prompt: str) -> None:
    """Where the data is, and what to type next; `up` is the command that serves it."""
    say(console, WAY_ON.format(home=home, up=up, prompt=prompt))
