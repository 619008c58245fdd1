import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    T5Config,
)

from tests.engine.models import MAX_LENGTH, Family, llama, save, save_adapter
from tests.engine.requests import decode, plain, prompt
from worker.engine import ModelError, Request, load_engine
from worker.engine.architecture import longest_exact, why_unsupported

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


def change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


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


def test_a_recurrent_model(tmp_path: Path) -> None:
    model = MambaForCausalLM(MambaConfig(vocab_size=97, hidden_size=8, num_hidden_layers=1, state_size=4))

    assert "keep a state that rows" in str(refusal(save(model, tmp_path), max_length=64))


def test_an_encoder_decoder_and_mixed_attention_are_ruled_out_by_their_configuration() -> None:
    mixed = LlamaConfig()
    mixed.layer_types = ["full_attention", "linear_attention"]

    assert "encoder-decoder" in (why_unsupported(T5Config()) or "")
    assert "linear_attention" in (why_unsupported(mixed) or "")
    assert why_unsupported(LlamaConfig()) is None


def test_a_model_whose_cached_logits_are_wrong_is_found_out(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama import modeling_llama  # noqa: PLC0415 (patched: it stands for a foreign model)

    rotate = modeling_llama.LlamaRotaryEmbedding.forward

    def from_zero(self: torch.nn.Module, x: torch.Tensor, position_ids: torch.Tensor) -> object:
        return rotate(self, x, torch.arange(x.shape[1])[None].expand(x.shape[0], -1))

    monkeypatch.setattr(modeling_llama.LlamaRotaryEmbedding, "forward", from_zero)

    assert "cached logits differ from its uncached ones" in str(refusal(base))


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (LlamaConfig(max_position_embeddings=500), 500),
        (MistralConfig(max_position_embeddings=500, sliding_window=60), 60),
        (MistralConfig(max_position_embeddings=500, sliding_window=None), 500),
        (GPTNeoConfig(max_position_embeddings=500, window_size=70), 70),
        (
            LlamaConfig(
                max_position_embeddings=500, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
            ),
            500,
        ),
        (
            LlamaConfig(
                max_position_embeddings=500,
                rope_parameters={
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "original_max_position_embeddings": 80,
                    "short_factor": [1.0] * 64,
                    "long_factor": [1.0] * 64,
                },
            ),
            80,
        ),
    ],
    ids=["positions", "window", "no window", "local layers", "dynamic rope", "long rope"],
)
def test_the_longest_exact_length(config: LlamaConfig, limit: int) -> None:
    assert longest_exact(config) == limit


@pytest.mark.parametrize(
    "make",
    [
        lambda: MistralForCausalLM(
            MistralConfig(
                vocab_size=97,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                sliding_window=24,
                initializer_range=0.3,
                eos_token_id=96,
            )
        ),
        lambda: GPTNeoForCausalLM(
            GPTNeoConfig(
                vocab_size=97,
                hidden_size=32,
                num_layers=2,
                num_heads=4,
                attention_types=[[["global", "local"], 1]],
                window_size=24,
                initializer_range=0.3,
                eos_token_id=96,
            )
        ),
    ],
    ids=["mistral", "gpt_neo"],
)
def test_a_model_with_windows_is_exact_up_to_its_window(tmp_path: Path, make: Callable[[], PreTrainedModel]) -> None:
    torch.manual_seed(0)
    model = make()
    engine = load_engine(save(model, tmp_path))
    texts = [prompt(0, 20), prompt(1, 3)]

    completions = decode(engine, [Request(i, plain(t), max_tokens=24 - len(t)) for i, t in enumerate(texts)])

    assert engine.max_length == 24
    for index, text in enumerate(texts):
        prefix = list(text)
        for token_id in completions[index].token_ids:
            assert token_id == model(input_ids=torch.tensor([prefix]), use_cache=False).logits[0, -1].argmax()
            prefix.append(token_id)


@pytest.mark.parametrize("max_length", [1, MAX_LENGTH + 1])
def test_an_impossible_length(base: str, max_length: int) -> None:
    error = refusal(base, max_length=max_length)

    assert str(error).startswith(f"max_length {max_length} is not between 2 and {MAX_LENGTH}")


def test_a_shorter_length_is_kept_to(base: str) -> None:
    assert load_engine(base, max_length=40).max_length == 40


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "abacus"])
def test_a_device_that_is_not_there(base: str, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        device = "cuda:98"

    assert refusal(base, device=device).code == "device_unavailable"


def test_an_unknown_dtype(base: str) -> None:
    assert refusal(base, dtype="int3").code == "dtype_unknown"


def test_no_slots(base: str) -> None:
    assert refusal(base, num_slots=0).code == "num_slots_invalid"


def test_a_policy_with_another_vocabulary_size(base: str, tmp_path: Path) -> None:
    error = refusal(base, save(llama(seed=1, vocab_size=98), tmp_path))

    assert error.code == "vocabulary_mismatch"
    assert "98 and 97 tokens" in str(error)


def test_a_policy_with_another_tokenizer(base: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(base, tmp_path / "base"))
    policy = save(llama(seed=1), tmp_path / "policy")
    tokenizer = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"content": "<end>", "id": 2}]}
    (own / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "policy" / "tokenizer.json").write_text(json.dumps(tokenizer | {"version": "2"}))

    assert load_engine(str(own), policy).weights == ("base", "policy")
    change(tmp_path / "policy" / "tokenizer.json", model={"vocab": {"a": 1, "b": 0}})
    assert "tokenizers differ" in str(refusal(str(own), policy))


ADAPTERS_BEYOND_LOW_RANK: dict[str, dict[str, object]] = {
    "use_dora": {"use_dora": True},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "biases": {"bias": "all"},
    "embed_tokens": {"target_modules": ["embed_tokens"]},
    "target_parameters": {"target_modules": [], "target_parameters": ["q_proj.weight"]},
}


@pytest.mark.parametrize("name", ADAPTERS_BEYOND_LOW_RANK)
def test_an_adapter_that_is_more_than_a_low_rank_update(base: str, tmp_path: Path, name: str) -> None:
    policy = save_adapter(llama(seed=0), tmp_path, seed=1, **ADAPTERS_BEYOND_LOW_RANK[name])

    error = refusal(base, policy)

    assert error.code == "adapter_unsupported"
    assert name in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init_lora_weights": "pissa"}, "changes the base weights"),
        ({"target_modules": ["nothing_here"]}, "nothing_here"),
        ({"target_modules": ["q_proj"]}, "made for another model"),
        ({"target_modules": ["q_proj", "v_proj", "down_proj", "o_proj"]}, "made for another model"),
    ],
    ids=["pissa", "no such module", "too many tensors", "too few tensors"],
)
def test_an_adapter_that_does_not_fit_its_base(
    families: dict[str, Family], tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    policy = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    change(policy / "adapter_config.json", **changes)

    error = refusal(families["llama"].base, str(policy))

    assert error.code == "adapter_unsupported"
    assert words in str(error)


def test_an_adapter_of_another_type(base: str, tmp_path: Path) -> None:
    config = {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))

    assert "only LoRA is stacked" in str(refusal(base, str(tmp_path)))


def test_an_adapter_made_for_another_base(base: str, tmp_path: Path) -> None:
    for name, shape in {"wider": {"hidden_size": 48}, "deeper": {"num_hidden_layers": 3}}.items():
        policy = save_adapter(llama(seed=0, **shape), tmp_path / name, seed=1)

        assert refusal(base, policy).code == "adapter_unsupported"


def test_an_adapter_without_its_weights(families: dict[str, Family], tmp_path: Path) -> None:
    policy = Path(shutil.copytree(families["llama"].policy, tmp_path / "policy"))
    (policy / "adapter_model.safetensors").unlink()

    assert refusal(families["llama"].base, str(policy)).code == "adapter_unsupported"
