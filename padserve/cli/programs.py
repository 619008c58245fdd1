"""`padserve train`, `eval` and `calibrate`: programs of their own, which need torch; the command line is handed on."""

import os
import subprocess
from importlib.util import find_spec

import typer

from padserve.cli.context import context_of
from padserve.cli.signals import handed_on_to
from padserve.errors import PadserveError
from padserve.settings import child_environment

KILLED = 128
"""What a shell adds to the number of a signal that ended a program."""
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
    with handed_on_to(program):
        while True:
            try:
                exit_code = program.wait()
                raise typer.Exit(exit_code if exit_code >= 0 else KILLED - exit_code)
            except KeyboardInterrupt:
                continue  # a Ctrl-C, which the program has had, too: it ends in its own words
