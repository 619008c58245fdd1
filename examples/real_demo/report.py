"""What the real demo prints about its texts: side by side, unedited; what was counted; how fast they were written."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from examples.real_demo.counts import COUNTED, echoes_its_wish, loops
from examples.real_demo.readers import EVERYONE, METHODS, PROMPTS, READERS, Written
from examples.story import page
from padserve import Job
from padserve.cli.display import say

LABELS = {"none": "unguided", "prompt": "prompted", "contrast": "guided"}
SHOWN_READERS = ("ana", "mia", "jack")
NEXT_PROMPT = "Remind {first_name} of our picnic on Sunday in two sentences."


def show(console: Console, job: Job, written: Sequence[Written]) -> None:
    """The texts, the counts, and the throughput."""
    show_examples(console, written)
    show_counts(console, written)
    page.show_throughput(console, job, len(written), sum(text.num_tokens for text in written))


def show_examples(console: Console, written: Sequence[Written]) -> None:
    """The job's first prompt, as three readers got it, and what the others got. Unedited; the first, not the best."""
    texts = {(text.reader, text.method): text for text in written if text.prompt == PROMPTS[0]}
    page.show_heading(console, "The same prompt for three readers")
    say(console, f"Prompt: {PROMPTS[0]}")
    page.show_texts(console, "Unguided, the same for everyone", [("", texts[EVERYONE, "none"].text)])
    for reader in SHOWN_READERS:
        rows = [(_label(texts[reader, method]), texts[reader, method].text) for method in METHODS[1:]]
        page.show_texts(console, f"{reader.capitalize()} asked for: {READERS[reader].wishes}", rows)


def show_counts(console: Console, written: Sequence[Written]) -> None:
    """A number for each reader's wish: it says that texts moved, and which way, not that they are good."""
    page.show_heading(console, "What can be counted")
    unguided = [text.text for text in written if text.method == "none"]
    rows = []
    for reader, counted in COUNTED.items():
        mine = [
            [text.text for text in written if (text.reader, text.method) == (reader, method)] for method in METHODS[1:]
        ]
        rows.append((counted.label, counted.of(unguided), *map(counted.of, mine)))
    rows.append(("all: texts that echo their wish", "", *_shares(written, echoes_its_wish)))
    rows.append(("all: texts that go round in circles", *_shares(written, loops, METHODS)))
    rows.append(("all: nats a token from the prompted model", "", "", _mean_kl(written)))
    page.show_counts(console, ("what was asked for, and a count", *LABELS.values()), rows)
    say(console, f"\n  {len(PROMPTS)} texts per reader and method: counts, not judges, and too few to prove anything.")


def _shares(
    written: Sequence[Written], holds: Callable[[Written], bool], methods: Sequence[str] = METHODS[1:]
) -> list[str]:
    """Cells of a table: for each method, the share of its texts for which it holds, in percent."""
    of_methods = [[holds(text) for text in written if text.method == method] for method in methods]
    return [f"{sum(held) / len(held):.0%}" for held in of_methods]


def _mean_kl(written: Sequence[Written]) -> str:
    divergences = [text.kl for text in written if text.kl is not None]
    return f"{sum(divergences) / len(divergences):.2f}" if divergences else ""


def _label(text: Written) -> str:
    label = LABELS[text.method]
    if text.kl is None or text.reward is None:
        return label
    return f"{label}, KL {text.kl:.2f}, reward {text.reward:.1f}"


def show_way_on(console: Console, home: Path, model: str) -> None:
    """Where the data is, and what to type next."""
    page.show_way_on(console, home, f"make up PADSERVE_HOME={home} PADSERVE_MODEL={model}", NEXT_PROMPT)
