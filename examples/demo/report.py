"""What the demo prints about its texts: side by side, counted by the rules, and how fast they were written."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from examples.demo.readers import ASKED, METHODS, READERS, Written, is_unseen
from examples.story import page
from padserve import Job
from padserve.cli.display import say

LABELS = {"none": "unguided", "prompt": "prompted", "pad": "guided"}
SHOWN_READERS = ("ana", "ben", "dario")
NEXT_PROMPT = "Write a reminder about the picnic for {first_name}."
ALONE = "`make up` alone serves the same model with an empty database in .padserve."


def show(console: Console, job: Job, written: Sequence[Written]) -> None:
    """Examples, the table of rules, and the throughput."""
    show_examples(console, written)
    show_satisfaction(console, written)
    page.show_throughput(console, job, len(written), sum(text.num_tokens for text in written))


def show_examples(console: Console, written: Sequence[Written]) -> None:
    """The job's first prompt, as three readers got it. Not chosen for its outcome: it is the first."""
    prompt = written[0].prompt
    texts = {(text.reader, text.method): text for text in written if text.prompt == prompt}
    page.show_heading(console, "The same prompt for three readers")
    say(console, f"Prompt: {prompt}")
    page.show_texts(console, "Unguided, the same for everyone", [("", texts[SHOWN_READERS[0], "none"].text)])
    for reader in SHOWN_READERS:
        asked = " and ".join(principle.wordings[0] for principle in READERS[reader])
        rows = [(_judged(texts[reader, method]), texts[reader, method].text) for method in METHODS[1:]]
        page.show_texts(console, f"{reader.capitalize()} asked for: {asked}", rows)


def show_satisfaction(console: Console, written: Sequence[Written]) -> None:
    """How many texts keep each principle, among those whose reader asked for it."""
    page.show_heading(console, "Texts that do what their reader asked for")
    rows = []
    for principle in ASKED:
        asked = [text for text in written if principle in READERS[text.reader]]
        shares = (
            _share(principle.satisfies(text.text) for text in asked if text.method == method) for method in METHODS
        )
        mark = " *" if is_unseen(principle) else ""
        rows.append((principle.wordings[0] + mark, str(len(asked) // len(METHODS)), *shares))
    everything = (_share(text.keeps_all for text in written if text.method == method) for method in METHODS)
    total = ("everything asked for", str(len(written) // len(METHODS)), *everything)
    page.show_counts(console, ("principle", "texts", *LABELS.values()), rows, total)
    say(console, "\n  Rules count, not models. * In none of the preference pairs that the policy was trained on.")


def show_way_on(console: Console, home: Path) -> None:
    """Where the data is, and what to type next."""
    page.show_way_on(console, home, f"make up PADSERVE_HOME={home}", NEXT_PROMPT)
    say(console, ALONE)


def _judged(text: Written) -> str:
    return f"{LABELS[text.method]}, {'does it' if text.keeps_all else 'does not'}"


def _share(kept: Iterable[bool]) -> str:
    outcomes = list(kept)
    return f"{100 * sum(outcomes) // len(outcomes)} %"
