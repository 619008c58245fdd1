"""A real model, for what tiny random ones cannot show: SmolLM2, fetched and converted once for all sessions."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluation.real.models import FOLDER, ModelNotFetchedError, real_model


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """No other process that asks for the same file is in here; who ends, however that is, makes room for the next."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct's folder, in the checkout's .padserve/models unless PADSERVE_TEST_MODELS names another.

    Who cannot download packages goes without these tests, and is told why; a build machine may not.
    """
    folder = os.environ.get("PADSERVE_TEST_MODELS")
    of_all_processes = tmp_path_factory.getbasetemp().parent  # where tests run side by side; else, of all sessions
    try:
        with alone(of_all_processes / "smollm2.lock"):  # one fetches it, and the others wait
            return real_model("smollm2", Path(folder) if folder else FOLDER)
    except ModelNotFetchedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
