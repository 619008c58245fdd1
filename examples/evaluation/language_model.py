"""The independent language model: another architecture that reads the world's texts alone, without any request."""

from dataclasses import dataclass
from pathlib import Path

from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast, set_seed

from examples.demo.corpus import examples
from examples.demo.tokenizer import END
from examples.demo.train_base import BaseSettings, fit


@dataclass(frozen=True)
class LanguageModel:
    """What it is made from. Its texts come from a seed of its own: it knows none that base or PersRM learnt from."""

    seed: int = 307
    num_texts: int = 24_000
    hidden_size: int = 192
    num_layers: int = 3


def train_language_model(base: Path, out: Path, work: Path, recipe: LanguageModel) -> None:
    """Trains a GPT-NeoX on texts that follow nothing but the end token of the text before."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    set_seed(recipe.seed)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=4 * recipe.hidden_size,
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.hidden_size // 32,
            max_position_embeddings=512,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    texts = (example.answer for example in examples(recipe.seed, recipe.num_texts))
    rows = [([tokenizer.eos_token_id], tokenizer.encode(text + END, add_special_tokens=False)) for text in texts]
    fit(model, tokenizer, [rows], out, work=work, settings=BaseSettings(seed=recipe.seed))
