"""Keeps the training libraries from drawing bars and warning of each other on a person's terminal."""

import warnings

import datasets
from transformers.utils import logging


def quieten() -> None:
    """For a program of its own; a library's caller decides for itself."""
    datasets.disable_progress_bars()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # as above
    # peft asks transformers by an older name: nothing that whoever trains could act on.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
