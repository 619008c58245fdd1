"""One pair of models and its engine, for all tests of guidance over tokenizers."""

import pytest

from tests.engine.cross_tokenizer.pairs import CrossOracle, Pair, save_pair
from worker.engine import Engine, load_engine


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return save_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The same with a guide whose layers run in one call, where there is a compiler."""
    return save_pair(tmp_path_factory.mktemp("llamas"), "llama")


@pytest.fixture(scope="session")
def crossed(pair: Pair) -> Engine:
    """Shared: a test that leaves requests in it breaks the next one."""
    return load_engine(pair.base, pair.policy, pair.reference, device="cpu", num_slots=8)


@pytest.fixture(scope="session")
def cross_oracle(pair: Pair) -> CrossOracle:
    return CrossOracle(pair)
