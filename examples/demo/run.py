"""`make demo`: a private stack, ten profiles, one real job, and what guidance changed in its texts."""

import os
from pathlib import Path

from rich.console import Console

from examples.demo import report
from examples.demo.readers import METHODS, READERS, STRENGTH, items, make_prompts, profiles, written_in
from examples.story.run import Story, exit_code_of, tell
from padserve import StackError

MODEL = Path(__file__).parent / "model"
HOME = Path(".padserve/demo")
MAX_TOKENS = 120
NO_MODEL = "The demo's models are not in {folder}: train them with `make demo-model`."


def main() -> int:
    """Run the demo; returns the exit code."""
    return exit_code_of(_run)


def _run(console: Console) -> None:
    if not (MODEL / "base").is_dir():
        raise StackError(NO_MODEL.format(folder=os.path.relpath(MODEL)))
    base, policy = (os.path.relpath(MODEL / part) for part in ("base", "policy"))
    prompts = make_prompts()
    told = tell(
        console,
        Story(
            home=HOME,
            model=base,
            policy=policy,
            profiles=profiles(),
            items=items(prompts),
            defaults={"max_tokens": MAX_TOKENS, "strength": STRENGTH},
            plot=f"{{num_profiles}} readers have a profile; {len(prompts)} prompts x {len(READERS)} readers x "
            f"{len(METHODS)} methods are {{num_items}} items in one job.",
        ),
    )
    report.show(console, told.job, [written_in(result, prompts) for result in told.results])
    report.show_way_on(console, HOME)
