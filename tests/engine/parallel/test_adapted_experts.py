"""Adapters on experts whose stacks two processes share; by itself, as a process is of one group at a time."""

from pathlib import Path

from tests.engine.models import save, save_adapter, tiny
from tests.engine.parallel.in_two_processes import MIXTURE, forked_followers
from tests.engine.requests import decode, pad, prompt, token_ids
from worker.engine import Request, load_engine


def test_two_devices_share_an_adapter_on_experts(tmp_path: Path) -> None:
    base = tiny("mixtral", 2, **MIXTURE)
    parts = {"target_modules": ["q_proj"], "target_parameters": [f"experts.{n}_proj" for n in ("gate_up", "down")]}
    paths = save(base, tmp_path / "base"), save_adapter(base, tmp_path / "policy", seed=1, **parts)
    requests = [Request(number, pad(prompt(number, 5 + number)), max_tokens=12, strength=0.8) for number in range(4)]
    expected = token_ids(decode(load_engine(*paths, device="cpu"), requests))

    with forked_followers():
        engine = load_engine(*paths, device="cpu", tensor_parallel=2)

    assert token_ids(decode(engine, requests)) == expected
    engine.close()
