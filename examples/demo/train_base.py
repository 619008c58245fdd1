"""Trains the demo's base model from scratch: a small Llama on chat-formatted examples, loss on the answer alone."""

from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from examples.demo.corpus import Example, examples
from examples.demo.tokenizer import END, train_tokenizer
from worker.prompts import Message, encode, with_principles


@dataclass(frozen=True)
class BaseSettings:
    """Size, data and optimisation of the base model."""

    num_examples: int = 80_000
    num_tokenizer_examples: int = 20_000
    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 640
    num_layers: int = 4
    num_heads: int = 4
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 11


def train_base(out: Path, work: Path, settings: BaseSettings) -> None:
    """Writes tokenizer and weights to `out`; whatever else training needs goes to `work`."""
    set_seed(settings.seed)
    corpus = list(examples(settings.seed, settings.num_examples))
    tokenizer = train_tokenizer(
        (part for example in corpus[: settings.num_tokenizer_examples] for part in _texts(example)), settings.vocab_size
    )
    model = LlamaForCausalLM(_config(tokenizer, settings))
    trainer = Trainer(
        model=model,
        args=_arguments(work, settings),
        train_dataset=_dataset(corpus, tokenizer),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def conversation_ids(tokenizer: PreTrainedTokenizerFast, example: Example) -> tuple[list[int], list[int]]:
    """Token ids of the example's prompt, as the engine would send it, and of its answer with the end token."""
    messages = with_principles([Message(role="user", content=example.prompt)], example.principles)
    return list(encode(tokenizer, messages)), tokenizer.encode(example.answer + END, add_special_tokens=False)


def _texts(example: Example) -> tuple[str, str]:
    messages = with_principles([Message(role="user", content=example.prompt)], example.principles)
    return messages[0]["content"], example.answer


def _dataset(corpus: list[Example], tokenizer: PreTrainedTokenizerFast) -> Dataset:
    rows = []
    for example in corpus:
        prompt, answer = conversation_ids(tokenizer, example)
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return Dataset.from_list([{**row, "length": len(row["input_ids"])} for row in rows])


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


def _arguments(work: Path, settings: BaseSettings) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=50,
        weight_decay=0.05,
        adam_beta2=0.98,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        remove_unused_columns=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=50,
        report_to="none",
        seed=settings.seed,
    )
