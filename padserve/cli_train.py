"""`padserve train`: hands its arguments to the training program, which needs more libraries than a client has."""

import subprocess
import sys
from importlib.util import find_spec

import typer

from padserve.errors import PadserveError

PROGRAM = "worker.persrm"
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def train(context: typer.Context) -> None:
    """Train a personalised reward model on preference pairs; `padserve train --help` lists the options."""
    if find_spec("trl") is None:
        raise PadserveError('Training needs libraries that are not installed: pip install "padserve[train]".')
    program = subprocess.Popen([sys.executable, "-m", PROGRAM, *context.args])  # noqa: S603 (our own)
    while True:
        try:
            raise typer.Exit(program.wait())
        except KeyboardInterrupt:
            continue  # the program has had the signal, too, and ends in its own words
