"""`padserve eval`: hands its command line to the evaluation, a program of its own that needs torch."""

import os
import subprocess

import typer

from padserve.context import context_of
from padserve.settings import child_environment
from padserve.stack import PYTHON_MODULE

PROGRAM = (*PYTHON_MODULE, "worker.persrm.evaluation")
EVERYTHING_IS_HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def evaluate(context: typer.Context) -> None:
    """Measure what guidance does to your own models, with controls.

    Needs the `eval` extra. `padserve eval --help` lists the options.
    """
    context_of(context)  # refuses unknown settings, as every command does
    command = [*PROGRAM, *context.args]
    ended = subprocess.run(command, env=child_environment(os.environ), check=False)  # noqa: S603 - the project's own
    raise typer.Exit(ended.returncode)
