"""Hub ids: read from the cache without asking anybody, fetched once where something is missing."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import socket

import huggingface_hub.constants
import pytest
from huggingface_hub import snapshot_download

from tests.engine.models import Family, save_tokenizer
from worker.engine import ModelError, load_engine
from worker.engine.checkpoints import hub
from worker.engine.checkpoints.checkpoint import Checkpoint

COMMIT = "0123456789012345678901234567890123456789"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A port of this machine at which nobody listens."""
    with closing(socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield


def cached(cache: Path, name: str, source: str, *, tokenizer: bool = True) -> Path:
    """A repository as the Hub's client keeps it."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = Path(shutil.copytree(source, repository / "snapshots" / COMMIT))
    if tokenizer:
        save_tokenizer(snapshot)
    return snapshot


@pytest.mark.usefixtures("unreachable")
def test_whole_snapshots_are_loaded_at_once_with_the_hub_unreachable(cache: Path, families: dict[str, Family]) -> None:
    cached(cache, "org/base", families["llama"].base)
    cached(cache, "org/policy", families["llama"].policy, tokenizer=False)
    started = time.monotonic()

    engine = load_engine("org/base", "org/policy")

    assert engine.weights == ("base", "policy")
    assert time.monotonic() - started < 20  # 58 seconds when each file was asked for by itself


def test_a_whole_snapshot_is_not_asked_for(
    cache: Path, families: dict[str, Family], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached(cache, "org/base", families["llama"].base)
    monkeypatch.setattr(hub, "_fetched", lambda _path: pytest.fail("the Hub was asked"))

    checkpoint = Checkpoint.find("org/base", is_base=True)

    assert checkpoint.folder == snapshot
    assert {file.parent for file in checkpoint.files()} == {snapshot}
    assert checkpoint.path == "org/base"


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "config.json"])
def test_what_is_missing_is_fetched(
    cache: Path, families: dict[str, Family], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    snapshot = cached(cache, "org/base", families["llama"].base)
    content = (snapshot / missing).read_bytes()
    (snapshot / missing).unlink()
    asked = []

    def fetch(path: str, *, local_files_only: bool = False, **_options: object) -> str:
        if local_files_only:
            return snapshot_download(path, local_files_only=True)
        asked.append(path)
        (snapshot / missing).write_bytes(content)
        return str(snapshot)

    monkeypatch.setattr(hub, "snapshot_download", fetch)

    assert hub.local_folder("org/base") == snapshot
    assert asked == ["org/base"]


@pytest.mark.usefixtures("unreachable")
def test_what_the_cache_has_is_used_where_the_hub_does_not_answer(cache: Path, families: dict[str, Family]) -> None:
    cached(cache, "org/base", families["llama"].base, tokenizer=False)

    assert load_engine("org/base").weights == ("base",)


@pytest.mark.usefixtures("unreachable", "cache")
def test_a_model_that_is_nowhere_is_refused_in_seconds() -> None:
    started = time.monotonic()

    with pytest.raises(ModelError) as refused:
        load_engine("org/nothing")

    assert refused.value.code == "model_not_found"
    assert "org/nothing" in str(refused.value)
    assert time.monotonic() - started < 20


def test_weights_from_before_safetensors_are_fetched_where_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns: list[list[str]] = []

    def fetch(_path: str, *, allow_patterns: list[str], **_options: object) -> str:
        patterns.append(allow_patterns)
        if "*.bin" in allow_patterns:
            (tmp_path / "pytorch_model.bin").touch()
        return str(tmp_path)

    monkeypatch.setattr(hub, "_cached", lambda _path: None)
    monkeypatch.setattr(hub, "snapshot_download", fetch)

    assert hub.local_folder("org/old") == tmp_path
    assert [("*.safetensors" in wanted, "*.bin" in wanted) for wanted in patterns] == [(True, False), (False, True)]
