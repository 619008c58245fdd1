"""`padserve train`, `eval` and `calibrate`: programs of their own, which need torch; the command line is handed on."""

import os
import subprocess
from importlib.util import find_spec

import typer

from padserve.cli.context import context_of
from padserve.errors import PadserveError
from padserve.settings import child_environment

EVERYTHING_IS_HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def train(context: typer.Context) -> None:
    """Train a personalised reward model on preference pairs.

    Needs the `train` extra. `padserve train --help` lists the options.
    """
    _run(context, "worker.persrm", extra="train", needs="trl")


def evaluate(context: typer.Context) -> None:
    """Measure what guidance does to your own models, with controls.

    Needs the `eval` extra. `padserve eval --help` lists the options.
    """
    _run(context, "evaluation", extra="eval", needs="matplotlib")


def calibrate(context: typer.Context) -> None:
    """Find format, strength and budget for a model, and write its card.

    Needs the `eval` extra. `padserve calibrate --help` lists the options.
    """
    _run(context, "evaluation.calibration", extra="eval", needs="matplotlib")


def _run(context: typer.Context, module: str, *, extra: str, needs: str) -> None:
    context_of(context)  # refuses unknown settings, as every command does
    if find_spec(needs) is None:
        raise PadserveError(f'This needs libraries that are not installed: pip install "padserve[{extra}]".')
    from padserve.stack.stack import PYTHON_MODULE

    program = subprocess.Popen([*PYTHON_MODULE, module, *context.args], env=child_environment(os.environ))  # noqa: S603 - the project's own
    while True:
        try:
            raise typer.Exit(program.wait())
        except KeyboardInterrupt:
            continue  # the program has had the signal, too, and ends in its own words
