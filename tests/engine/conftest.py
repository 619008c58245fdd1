"""One Llama (rotary positions) and one GPT-2 (absolute positions): each notices mistakes that the other does not."""

from collections.abc import Iterator
from functools import cache

import pytest
import torch

from tests.engine.models import Family, gpt2, llama, save_family
from tests.engine.oracle import Oracle
from worker.engine import Engine, load_engine

ARCHITECTURES = {"llama": llama, "gpt2": gpt2}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    return {name: save_family(name, tmp_path_factory.mktemp(name)) for name in ARCHITECTURES}


@pytest.fixture(params=[*ARCHITECTURES])
def family(request: pytest.FixtureRequest, families: dict[str, Family]) -> Family:
    name: str = request.param
    return families[name]


def make_engine(family: Family, *, num_slots: int = 32, prefill_budget: int = 4096) -> Engine:
    return load_engine(
        family.base,
        family.policy,
        family.reference,
        device="cpu",
        num_slots=num_slots,
        prefill_budget=prefill_budget,
    )


@cache
def _engine(family: Family) -> Engine:
    return make_engine(family)


@cache
def _oracle(family: Family) -> Oracle:
    return Oracle.of(family)


@pytest.fixture
def engine(family: Family) -> Engine:
    """Shared: a test that leaves requests in it breaks the next one."""
    return _engine(family)


@pytest.fixture
def oracle(family: Family) -> Oracle:
    return _oracle(family)
