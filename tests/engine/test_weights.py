from pathlib import Path

import pytest

from tests.engine.conftest import ARCHITECTURES
from tests.engine.models import Family, merge, read, save, save_adapter
from tests.engine.requests import decode, mixed_batch, mixture, pad, pad_with_reference, plain, prompt, token_ids
from worker.engine import Engine, Request, Stream, load_engine


@pytest.fixture
def merged_policy(family: Family, tmp_path: Path) -> str:
    """The policy as a full model: its adapter merged into the base."""
    return save(merge(read(family.base), family.policy), tmp_path / "merged")


def test_stacked_adapter_rows_equal_a_separate_merged_model(family: Family, engine: Engine, merged_policy: str) -> None:
    separate = load_engine(family.base, merged_policy, family.reference)
    requests = mixed_batch()

    stacked_answers, separate_answers = decode(engine, requests), decode(separate, requests)

    assert token_ids(stacked_answers) == token_ids(separate_answers)


def test_two_streams_equal_three_when_the_reference_is_the_base(family: Family, engine: Engine, tmp_path: Path) -> None:
    copy = save(read(family.base), tmp_path / "copy")
    three = load_engine(family.base, family.policy, copy)
    text = prompt(0, 8)
    two_streams = Request(0, pad(text), strength=0.8, max_tokens=20, return_rewards=True)
    three_streams = Request(0, pad_with_reference(text), strength=0.8, max_tokens=20, return_rewards=True)

    expected, completion = decode(engine, [two_streams])[0], decode(three, [three_streams])[0]

    assert completion.token_ids == expected.token_ids
    assert completion.rewards == pytest.approx(expected.rewards, abs=1e-5)


def test_a_reference_that_is_the_base_directory_is_not_loaded_twice(family: Family, engine: Engine) -> None:
    same = load_engine(family.base, family.policy, family.base + "/")
    request = Request(0, pad_with_reference(prompt(0, 8)), strength=0.8)

    same.add(request)
    same.step()

    assert [len(runner.table) for runner in same._models.runners] == [2]  # noqa: SLF001 (the cost)
    assert (
        decode(same, []).popitem()[1].token_ids
        == decode(engine, [Request(0, pad(prompt(0, 8)), strength=0.8)])[0].token_ids
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_two_adapters_share_the_base(families: dict[str, Family], name: str, tmp_path: Path) -> None:
    family = families[name]
    targets = ["c_attn"] if name == "gpt2" else ["q_proj", "lm_head"]
    changes = {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": targets}
    other = save_adapter(ARCHITECTURES[name](seed=0), tmp_path / "other", seed=9, **changes)
    both = load_engine(family.base, family.policy, other)
    alone = load_engine(family.base, other)
    text = prompt(3, 6)
    requests = [
        Request("both", pad_with_reference(text), strength=0.7, max_tokens=20),
        Request("policy", plain(text), max_tokens=20),
        Request("mixture", mixture(text), strength=0.5, max_tokens=20),
        Request("reference", (Stream("reference", text),), max_tokens=20),
    ]

    together = decode(both, requests)

    for request in requests:
        assert decode(both, [request])[request.request_id].token_ids == together[request.request_id].token_ids
    assert (
        decode(alone, [Request(0, (Stream("policy", text),), max_tokens=20)])[0].token_ids
        == together["reference"].token_ids
    )
    assert len(set(token_ids(together).values())) == len(requests)


def test_an_adapter_leaves_base_rows_exact(family: Family, engine: Engine) -> None:
    without = load_engine(family.base)
    text = prompt(5, 7)
    guided = [Request(index, pad(prompt(index, 7)), strength=1.0, max_tokens=30) for index in range(1, 4)]

    beside = decode(engine, [Request(0, plain(text), max_tokens=30), *guided])

    assert beside[0].token_ids == decode(without, [Request(0, plain(text), max_tokens=30)])[0].token_ids
