import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from transformers import (
    AutoConfig,
    LlamaConfig,
    RwkvConfig,
    T5Config,
)

from tests.engine.models import MAX_LENGTH, Family, change, llama, save
from worker.engine import ModelError, load_engine
from worker.engine.checkpoints.architecture import why_unsupported

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def base(families: dict[str, Family]) -> str:
    return families["llama"].base


def refusal(base: str, policy: str | None = None, **options: object) -> ModelError:
    with pytest.raises(ModelError) as refused:
        load_engine(base, policy, **options)  # type: ignore[arg-type]  # wrong on purpose, here and there
    assert "\n" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize("path", ["/no/such/folder", "./no/such/folder", "no such folder", "nobody/nothing"])
def test_a_model_that_is_neither_here_nor_on_the_hub(path: str, base: str) -> None:
    error = refusal(path)

    assert error.code == "model_not_found"
    assert f"{path!r} is no directory here and could not be fetched" in str(error)
    assert refusal(base, path).code == "model_not_found"


def test_a_directory_without_a_configuration(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)).code == "model_config_unreadable"


def test_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")

    assert refusal(str(tmp_path)).code == "model_config_unreadable"


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_broken_or_missing_weights(base: str, tmp_path: Path, content: bytes | None) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    (copy / "model.safetensors").unlink()
    if content is not None:
        (copy / "model.safetensors").write_bytes(content)

    assert refusal(str(copy)).code == "model_weights_unreadable"


def test_weights_that_end_early(base: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])

    assert refusal(str(copy)).code == "model_weights_unreadable"


def test_weights_of_fewer_layers_than_configured_are_not_filled_up_at_random(base: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    change(copy / "config.json", num_hidden_layers=3)

    assert "model.layers.2" in str(refusal(str(copy)))


@pytest.mark.parametrize("model_type", ["never-heard-of", "vit"])
def test_an_unknown_architecture_or_one_without_a_language_model(base: str, tmp_path: Path, model_type: str) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    change(copy / "config.json", model_type=model_type)

    assert refusal(str(copy)).code == "model_unsupported"


def test_a_recurrent_model_with_a_cache_of_its_own(tmp_path: Path) -> None:
    RwkvConfig().save_pretrained(tmp_path)

    assert "keeps a recurrent state in a cache of its own" in str(refusal(str(tmp_path), max_length=64))


@pytest.mark.parametrize("model_type", ["openai-gpt", "xlnet"])
def test_a_model_without_a_key_value_cache(tmp_path: Path, model_type: str) -> None:
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)

    error = refusal(str(tmp_path), max_length=64)

    assert error.code == "model_unsupported"
    assert "it has no key-value cache" in str(error)


def test_a_model_that_states_a_window_and_does_not_heed_it_is_decoded_up_to_that_window(tmp_path: Path) -> None:
    path = save(llama(seed=0, sliding_window=100), tmp_path)

    assert "do not pass on their window of 100 tokens; a max_length of at most that works" in str(refusal(path))
    assert load_engine(path, max_length=100).max_length == 100


def test_an_encoder_decoder_and_mixed_attention_are_ruled_out_by_their_configuration() -> None:
    mixed = LlamaConfig()
    mixed.layer_types = ["full_attention", "indexed_attention"]

    assert "encoder-decoder" in (why_unsupported(T5Config()) or "")
    assert "indexed_attention" in (why_unsupported(mixed) or "")
    assert why_unsupported(LlamaConfig()) is None


@pytest.mark.parametrize(
    ("model_type", "cause"),
    [("musicgen", "encoder-decoder"), ("blt", "its configuration states no hidden_size")],
    ids=["several texts", "several stacks"],
)
def test_a_model_of_several_is_ruled_out_by_its_configuration(model_type: str, cause: str) -> None:
    assert cause in (why_unsupported(AutoConfig.for_model(model_type)) or "")


def test_a_model_whose_cached_logits_are_wrong_is_found_out(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama import modeling_llama  # noqa: PLC0415 (patched: it stands for a foreign model)

    rotate = modeling_llama.LlamaRotaryEmbedding.forward

    def from_zero(self: torch.nn.Module, x: torch.Tensor, position_ids: torch.Tensor) -> object:
        return rotate(self, x, torch.arange(x.shape[1])[None].expand(x.shape[0], -1))

    monkeypatch.setattr(modeling_llama.LlamaRotaryEmbedding, "forward", from_zero)

    assert "cached logits differ from its uncached ones" in str(refusal(base))


@pytest.mark.parametrize("max_length", [1, MAX_LENGTH + 1])
def test_an_impossible_length(base: str, max_length: int) -> None:
    error = refusal(base, max_length=max_length)

    assert str(error).startswith(f"max_length {max_length} is not between 2 and {MAX_LENGTH}")


@pytest.mark.parametrize("max_length", [2, 3, 40])
def test_a_shorter_length_is_kept_to(base: str, max_length: int) -> None:
    assert load_engine(base, max_length=max_length).max_length == max_length


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "abacus", "meta"])
def test_a_device_that_is_not_there(base: str, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        device = "cuda:98"

    assert refusal(base, device=device).code == "device_unavailable"


def test_an_unknown_dtype(base: str) -> None:
    assert refusal(base, dtype="int3").code == "dtype_unknown"


def test_no_slots(base: str) -> None:
    assert refusal(base, num_slots=0).code == "num_slots_invalid"


def test_a_cache_that_could_hold_no_request_of_a_useful_length(base: str) -> None:
    error = refusal(base, cache_bytes=10)

    assert error.code == "cache_bytes_too_small"
    assert str(error).startswith("cache_bytes is 10, and a request of 32 tokens takes ")
    needed = int(str(error).partition("takes ")[2].partition(":")[0].replace(",", ""))
    assert load_engine(base, cache_bytes=needed).max_length == 32


@pytest.mark.parametrize("prefill_budget", [0, -1])
def test_no_prompt_tokens_per_step(base: str, prefill_budget: int) -> None:
    assert "prefill_budget" in str(refusal(base, prefill_budget=prefill_budget))


def test_a_policy_with_another_vocabulary_size(base: str, tmp_path: Path) -> None:
    error = refusal(base, save(llama(seed=1, vocab_size=98), tmp_path))

    assert error.code == "vocabulary_mismatch"
    assert "98 and 97 tokens" in str(error)
