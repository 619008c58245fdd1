"""What is needed to hold a model in two processes of the tests, as on two devices."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch

from tests.system import forked
from worker.engine.loading.assembly import load_shares
from worker.engine.parallel import followers

MIXTURE = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 96,
}
"""Changes of a Mixtral whose width is not that of the other models of the tests."""


@contextmanager
def forked_followers() -> Iterator[None]:
    """Let an engine that is loaded here start its second process by a fork; skips where it would want GPUs."""
    if torch._C._get_accelerator().type != "cpu":  # noqa: SLF001 (as the engine asks)
        pytest.skip("transformers divides a model among the GPUs of a torch that is built for them")
    with patch.object(followers, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": _ForkedFollower})):
        yield


class _ForkedFollower:
    """A follower's process as its leader sees it, forked where its imports are done.

    How one starts otherwise is seen in `tests/worker/supervision/test_several_devices.py`.
    """

    def __init__(self, command: Sequence[str], **_others: object) -> None:
        connection = Connection(os.dup(int(command[-2])))
        self._process = forked.context().Process(target=_follow, args=(connection,))
        with forked.with_torch():
            self._process.start()

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def _follow(connection: Connection) -> None:
    torch.set_num_threads(1)
    followers.follow(connection, load_shares)
