"""The independent judge: a small GPT-2 that says which principles a text keeps. It never sees a rule, nor the guide."""

import math
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerBase,
    Trainer,
    set_seed,
)

from examples.demo.corpus import examples
from examples.demo.optimizer import optimizer_with_schedule
from examples.demo.principles import BY_NAME, kept
from examples.demo.train_base import training_arguments


@dataclass(frozen=True)
class Judge:
    """What it is made from. Its texts come from a seed of its own."""

    seed: int = 401
    num_texts: int = 20_000
    hidden_size: int = 128
    num_layers: int = 2
    batch_size: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.05


def train_judge(base: Path, out: Path, work: Path, recipe: Judge) -> None:
    """Trains a classifier with one yes or no per principle on texts whose styles are known."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    set_seed(recipe.seed)
    names = tuple(BY_NAME)
    model = _model(tokenizer, names, recipe)
    rows = [
        {
            "input_ids": tokenizer.encode(example.answer, add_special_tokens=False),
            "labels": [float(name in styles) for name in names],
        }
        for example in examples(recipe.seed, recipe.num_texts)
        for styles in [kept(example.answer)]
    ]
    num_steps = math.ceil(recipe.num_texts / recipe.batch_size)
    trainer = Trainer(
        model=model,
        args=training_arguments(work, batch_size=recipe.batch_size, seed=recipe.seed, sampling="group_by_length"),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        optimizers=optimizer_with_schedule(
            model, num_steps, learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay
        ),
    )
    trainer.train()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _model(tokenizer: PreTrainedTokenizerBase, names: tuple[str, ...], recipe: Judge) -> GPT2ForSequenceClassification:
    return GPT2ForSequenceClassification(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=recipe.hidden_size,
            n_layer=recipe.num_layers,
            n_head=recipe.hidden_size // 32,
            n_positions=512,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
            problem_type="multi_label_classification",
        )
    )
