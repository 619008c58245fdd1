"""Trains the demo's base model from scratch: a small Llama on chat-formatted examples, loss on the answer alone."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from examples.demo.corpus import Example, examples
from examples.demo.optimizer import optimizer_with_schedule
from examples.demo.tokenizer import END, train_tokenizer
from worker.texts.formats import PAD, Message, with_principles
from worker.texts.prompts import encode


@dataclass(frozen=True)
class BaseSettings:
    """Size, data and optimisation of the base model."""

    num_careful: int = 36_000
    num_mixed: int = 18_000
    num_tokenizer_examples: int = 20_000
    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 640
    num_layers: int = 4
    num_heads: int = 4
    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    seed: int = 11


TokenizedExample = tuple[list[int], list[int]]  # prompt, answer


def train_base(out: Path, work: Path, settings: BaseSettings) -> None:
    """Writes tokenizer and weights to `out`; whatever else training needs goes to `work`."""
    set_seed(settings.seed)
    parts = (
        list(examples(settings.seed, settings.num_careful, careful=True)),
        list(examples(settings.seed + 1, settings.num_mixed)),
    )
    sample = parts[0][: settings.num_tokenizer_examples]
    tokenizer = train_tokenizer((text for example in sample for text in _texts(example)), settings.vocab_size)
    encoded = [[conversation_ids(tokenizer, example) for example in part] for part in parts]
    fit(LlamaForCausalLM(_config(tokenizer, settings)), tokenizer, encoded, out, work=work, settings=settings)


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    parts: Sequence[Sequence[TokenizedExample]],
    out: Path,
    *,
    work: Path,
    settings: BaseSettings,
) -> None:
    """Trains a model of any architecture, each part after the one before it; writes it and its tokenizer to `out`."""
    num_steps = math.ceil(sum(map(len, parts)) / settings.batch_size)
    trainer = Trainer(
        model=model,
        args=training_arguments(
            work, batch_size=settings.batch_size, seed=settings.seed, sampling="sequential", bf16=True
        ),
        train_dataset=_dataset(parts, settings),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
        optimizers=optimizer_with_schedule(
            model, num_steps, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
        ),
    )
    trainer.train()
    model.config.use_cache = True  # training switches it off
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def conversation_ids(tokenizer: PreTrainedTokenizerFast, example: Example) -> TokenizedExample:
    """Token ids of the example's prompt, as the engine would send it, and of its answer with the end token."""
    messages = with_principles([Message(role="user", content=example.prompt)], example.principles, PAD)
    return list(encode(tokenizer, messages)), tokenizer.encode(example.answer + END, add_special_tokens=False)


def _texts(example: Example) -> tuple[str, str]:
    messages = with_principles([Message(role="user", content=example.prompt)], example.principles, PAD)
    return messages[0]["content"], example.answer


def _dataset(parts: Sequence[Sequence[TokenizedExample]], settings: BaseSettings) -> Dataset:
    """The parts one after the other: what a request means is learnt from careful answers, carelessness afterwards."""
    rng = random.Random(settings.seed)
    rows = []
    for part in parts:
        rows += [
            {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
            for prompt, answer in _in_batches(rng, part, settings.batch_size)
        ]
    return Dataset.from_list(rows)


def _in_batches(rng: random.Random, rows: Sequence[TokenizedExample], batch_size: int) -> Iterator[TokenizedExample]:
    """The rows reordered so that each batch holds rows of like length, and long and short batches alternate."""
    window = 50 * batch_size
    for start in range(0, len(rows), window):
        by_length = sorted(rows[start : start + window], key=lambda row: len(row[0]) + len(row[1]))
        batches = [by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            yield from batch


def _config(tokenizer: PreTrainedTokenizerFast, settings: BaseSettings) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def training_arguments(
    work: Path, *, batch_size: int, seed: int, sampling: str, bf16: bool = False
) -> TrainingArguments:
    """One pass over the data, on a GPU where there is one; nothing is kept but the model."""
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,
        per_device_train_batch_size=batch_size,
        train_sampling_strategy=sampling,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=50,
        report_to="none",
        seed=seed,
    )
