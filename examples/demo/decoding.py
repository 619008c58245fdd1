"""Guided decoding in plain transformers, for measuring the demo's models without the engine. Cached and batched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from worker.texts.formats import PAD, Message, with_principles
from worker.texts.prompts import encode


@dataclass(frozen=True)
class DemoMethod:
    """How texts are made; strength 0 leaves the base model alone, temperature 0 is greedy."""

    name: str
    guidelines: bool
    strength: float = 0.0
    temperature: float = 0.0
    top_k: int = 10


@dataclass
class _Stream:
    """One model's side of a decoding batch."""

    model: PreTrainedModel
    cache: DynamicCache

    def logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self.model(ids, attention_mask=mask, position_ids=positions, past_key_values=self.cache)
        last: Tensor = output.logits[:, -1]  # [B, V]
        return last


@dataclass(frozen=True)
class DemoModels:
    """The demo's tokenizer, base model, and policy with its adapter merged in."""

    tokenizer: PreTrainedTokenizerBase
    base: PreTrainedModel
    policy: PreTrainedModel
    max_tokens: int

    @classmethod
    def load(cls, base: Path, policy: Path, max_tokens: int = 120) -> "DemoModels":
        """Both models in float32, from the folders that training wrote."""
        models = [AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) for _ in range(2)]
        merged = PeftModel.from_pretrained(models[1], policy).merge_and_unload()
        return cls(AutoTokenizer.from_pretrained(base), models[0], merged, max_tokens)

    @torch.inference_mode()
    def write(self, prompts: Sequence[str], principles: Sequence[Sequence[str]], method: DemoMethod) -> list[str]:
        """One text for each prompt and its principles."""
        ids, mask = self._batch(prompts, principles if method.guidelines else [()] * len(prompts))
        models = [self.base] if method.strength == 0 else [self.base, self.policy]
        streams = [_Stream(model, DynamicCache()) for model in models]
        generator = torch.Generator().manual_seed(0)
        rows = list(range(len(prompts)))
        texts: list[list[int]] = [[] for _ in rows]
        for _ in range(self.max_tokens):
            chosen = _choose([stream.logits(ids, mask) for stream in streams], method, generator)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                texts[row].append(token)
            going = (chosen != self.tokenizer.eos_token_id).nonzero()[:, 0]
            if not len(going):
                break
            rows = [rows[index] for index in going.tolist()]
            ids = chosen[going, None]
            mask = torch.cat([mask[going], torch.ones_like(ids)], dim=1)
            for stream in streams:
                stream.cache.batch_select_indices(going)
        return self.tokenizer.batch_decode(texts, skip_special_tokens=True)

    def _batch(self, prompts: Sequence[str], principles: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        rows = [
            encode(self.tokenizer, with_principles([Message(role="user", content=prompt)], wanted, PAD))
            for prompt, wanted in zip(prompts, principles, strict=True)
        ]
        batch = self.tokenizer.pad({"input_ids": [list(row) for row in rows]}, padding_side="left", return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"]


def _choose(logits: list[Tensor], method: DemoMethod, generator: torch.Generator) -> Tensor:
    """The next token of each row: (1 - w) z_base + w z_policy on the base's top k."""
    base, candidates = logits[0].topk(method.top_k, dim=-1)  # [B, k]
    score = base
    if method.strength != 0:
        score = (1 - method.strength) * base + method.strength * logits[1].gather(1, candidates)
    if method.temperature == 0:
        best = score.argmax(dim=-1, keepdim=True)
    else:
        best = torch.multinomial((score / method.temperature).softmax(dim=-1), 1, generator=generator)
    return candidates.gather(1, best)[:, 0]  # [B]
