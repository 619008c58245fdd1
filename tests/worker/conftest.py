"""Engines in processes of their own that need not import anything."""

from types import SimpleNamespace

import pytest

from tests.system import forked
from worker.supervision import supervisor


@pytest.fixture
def forked_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new engine is forked where its imports are done already; `test_supervisor.py` has some that start as always."""
    monkeypatch.setattr(supervisor, "multiprocessing", SimpleNamespace(get_context=lambda _method: forked.context()))
