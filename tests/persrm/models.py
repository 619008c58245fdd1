"""A tiny base model with a chat template, and pairs to train on."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from examples.demo.corpus import preference_pairs
from examples.demo.tokenizer import train_tokenizer
from worker.persrm.pairs import PreferencePair
from worker.persrm.train import PolicySettings

PAIRS = [
    PreferencePair(prompt=pair.prompt, principles=pair.principles, chosen=pair.chosen, rejected=pair.rejected)
    for pair in preference_pairs(seed=1, num_pairs=12)
]
SETTINGS = PolicySettings(rank=2, batch_size=4, held_out_share=0.2)


def save_base(folder: Path) -> Path:
    tokenizer = train_tokenizer([pair.chosen for pair in PAIRS], vocab_size=400)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
