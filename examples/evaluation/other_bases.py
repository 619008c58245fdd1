"""Base models that the PersRM was not trained with: the demo's world and tokenizer, other sizes and architectures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    set_seed,
)

from examples.demo.corpus import examples
from examples.demo.train_base import BaseSettings, conversation_ids, fit


@dataclass(frozen=True)
class OtherBase:
    """What one of them is made from; its layers are in `_CONFIGS`."""

    architecture: str
    seed: int
    num_careful: int = 24_000
    num_mixed: int = 8_000


OTHER_BASES: Mapping[str, OtherBase] = {
    "llama-1m": OtherBase("llama", seed=211),
    "gpt2-2m": OtherBase("gpt2", seed=233),
    "qwen3-5m": OtherBase("qwen3", seed=227),
}


def train_other_base(base: Path, out: Path, work: Path, recipe: OtherBase) -> None:
    """Trains one from scratch by the demo's recipe, on examples that no other model here has seen."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    set_seed(recipe.seed)
    parts = (
        examples(recipe.seed, recipe.num_careful, careful=True),
        examples(recipe.seed + 1, recipe.num_mixed),
    )
    encoded = [[conversation_ids(tokenizer, example) for example in part] for part in parts]
    config = _CONFIGS[recipe.architecture](tokenizer)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    fit(model, tokenizer, encoded, out, work=work, settings=BaseSettings(seed=recipe.seed))


def _llama(tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=400,
        num_hidden_layers=3,
        num_attention_heads=5,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _gpt2(tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=192,
        n_layer=4,
        n_head=6,
        n_positions=512,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _qwen3(tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=320,
        intermediate_size=800,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        head_dim=64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


_CONFIGS: Mapping[str, Callable[[PreTrainedTokenizerFast], PreTrainedConfig]] = {
    "llama": _llama,
    "gpt2": _gpt2,
    "qwen3": _qwen3,
}
