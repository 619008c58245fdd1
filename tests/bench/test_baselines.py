"""What the engine is timed against makes the same tokens: else the ratios would mean nothing."""

from pathlib import Path

import pytest
from peft import PeftModel
from transformers import PreTrainedModel

from bench import baselines
from bench.measure import decode
from bench.workload import Workload, make_workload
from tests.engine.models import VOCAB_SIZE, llama, peft_on_newer_transformers, read, save, save_adapter
from worker.engine import Engine, load_engine


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, PreTrainedModel, Engine]:
    folder: Path = tmp_path_factory.mktemp("models")
    base = save(llama(seed=0, eos_token_id=None), folder / "base")
    policy = save_adapter(llama(seed=0, eos_token_id=None), folder / "policy", seed=1)
    with peft_on_newer_transformers():
        merged: PreTrainedModel = PeftModel.from_pretrained(read(base), policy).merge_and_unload()
    return read(base), merged, load_engine(base, policy, num_slots=4)


@pytest.fixture
def workload() -> Workload:
    return Workload(make_workload(9, VOCAB_SIZE, prefix=5).prompts, (3, 12, 1, 7, 20, 5, 9, 2, 11))


def test_every_guided_side_makes_the_same_tokens(
    models: tuple[PreTrainedModel, PreTrainedModel, Engine], workload: Workload
) -> None:
    base, policy, engine = models

    answers = decode(engine, workload.guided())

    assert [len(answer) for answer in answers] == list(workload.lengths)
    assert baselines.uncached(base, policy, workload) == answers
    assert baselines.cached(base, policy, workload) == answers
    assert baselines.guided_generate(base, policy, workload, num_slots=4) == answers


def test_every_unguided_side_makes_the_same_tokens(
    models: tuple[PreTrainedModel, PreTrainedModel, Engine], workload: Workload
) -> None:
    base, _, engine = models

    answers = decode(engine, workload.unguided())

    assert baselines.unguided_generate(base, workload, num_slots=4) == answers
    assert answers != decode(engine, workload.guided())
