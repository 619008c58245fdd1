"""What the demo prints about its texts: side by side, counted by the rules, and how fast they were written."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from examples.demo.readers import ASKED, METHODS, READERS, Written, is_unseen
from padserve import Job
from padserve.display import say

LABELS = {"none": "unguided", "prompt": "prompted", "pad": "guided"}
SHOWN_READERS = ("ana", "ben", "dario")
INDENT = (0, 0, 0, 2)
WAY_ON = """
The job, its texts and the profiles are in {home}. To go on from there:

  make up PADSERVE_HOME={home}

and, in another terminal, while it runs:

  curl -s http://127.0.0.1:8000/v1/jobs \\
    -H "Authorization: Bearer $(cat {home}/api_key)" -H "Content-Type: application/json" \\
    -d '{{"prompt": "Write a reminder about the picnic for {{first_name}}.", "audience": {{"tags": ["demo"]}}}}'

`make up` alone serves the same model with an empty database in .padserve."""


def show(console: Console, job: Job, written: Sequence[Written]) -> None:
    """Examples, the table of rules, and the throughput."""
    show_examples(console, written)
    show_satisfaction(console, written)
    show_throughput(console, job, written)


def show_examples(console: Console, written: Sequence[Written]) -> None:
    """The job's first prompt, as three readers got it. Not chosen for its outcome: it is the first."""
    prompt = written[0].prompt
    texts = {(text.reader, text.method): text for text in written if text.prompt == prompt}
    _heading(console, "The same prompt for three readers")
    say(console, f"Prompt: {prompt}")
    _show_texts(console, "Unguided, the same for everyone", [("", texts[SHOWN_READERS[0], "none"].text)])
    for reader in SHOWN_READERS:
        asked = " and ".join(principle.wordings[0] for principle in READERS[reader])
        rows = [(_judged(texts[reader, method]), texts[reader, method].text) for method in METHODS[1:]]
        _show_texts(console, f"{reader.capitalize()} asked for: {asked}", rows)


def show_satisfaction(console: Console, written: Sequence[Written]) -> None:
    """How many texts keep each principle, among those whose reader asked for it."""
    _heading(console, "Texts that do what their reader asked for")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("principle", no_wrap=True)
    for heading in ("texts", *LABELS.values()):
        table.add_column(heading, justify="right")
    for principle in ASKED:
        asked = [text for text in written if principle in READERS[text.reader]]
        shares = (
            _share(principle.satisfies(text.text) for text in asked if text.method == method) for method in METHODS
        )
        mark = " *" if is_unseen(principle) else ""
        table.add_row(principle.wordings[0] + mark, str(len(asked) // len(METHODS)), *shares)
    everything = (_share(text.keeps_all for text in written if text.method == method) for method in METHODS)
    table.add_row("everything asked for", str(len(written) // len(METHODS)), *everything, style="bold")
    console.print(Padding(table, INDENT))
    say(console, "\n  Rules count, not models. * In none of the preference pairs that the policy was trained on.")


def show_throughput(console: Console, job: Job, written: Sequence[Written]) -> None:
    """Items and tokens per second, from the first claim to the last saved result."""
    if job.started_at is None or job.finished_at is None:
        return
    seconds = (job.finished_at - job.started_at).total_seconds()
    num_tokens = sum(text.num_tokens for text in written)
    _heading(console, "Throughput")
    say(
        console,
        f"  {len(written)} texts, {num_tokens} tokens in {seconds:.1f} s: {len(written) / seconds:.1f} texts/s, "
        f"{num_tokens / seconds:.0f} tokens/s, through the queue and the database.",
    )


def show_way_on(console: Console, home: Path) -> None:
    """Where the data is, and what to type next."""
    say(console, WAY_ON.format(home=home))


def _show_texts(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for label, text in rows:
        grid.add_row(Text(label, style="dim"), Text(text))
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Padding(grid, INDENT))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold underline" if console.is_terminal else ""))
    console.print(Text("" if console.is_terminal else "-" * len(text)))


def _judged(text: Written) -> str:
    return f"{LABELS[text.method]}, {'does it' if text.keeps_all else 'does not'}"


def _share(kept: Iterable[bool]) -> str:
    outcomes = list(kept)
    return f"{100 * sum(outcomes) // len(outcomes)} %"
