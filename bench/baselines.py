"""What the engine is compared with, written as a good engineer would with plain transformers.

Two models, base and policy, that share a tokenizer; greedy PAD on the base's k best candidates. Each function returns
the answers as lists of token ids, exactly as long as was asked for.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from bench.workload import STRENGTH, K, Workload

Answers = list[list[int]]
PAD = 0


def steered(base: Tensor, policy: Tensor) -> Tensor:
    """Token ids [B] chosen of logits [B, V]: log pi_base + w (log pi_policy - log pi_base) on the base's top k."""
    values, candidates = base.topk(K)
    of_policy = policy.gather(1, candidates)
    rewards = of_policy.log_softmax(-1) - values.log_softmax(-1)
    best = (values + STRENGTH * rewards).argmax(-1)
    return candidates.gather(1, best[:, None])[:, 0]


@torch.inference_mode()
def uncached(base: PreTrainedModel, policy: PreTrainedModel, workload: Workload) -> Answers:
    """(a) The form of PAD's public loop: one prompt at a time, both models over the whole prefix at every token."""
    answers = []
    for prompt, length in zip(workload.prompts, workload.lengths, strict=True):
        ids = list(prompt)
        for _ in range(length):
            line = torch.tensor([ids], device=base.device)
            of_base = base(input_ids=line, use_cache=False).logits[:, -1].float()
            of_policy = policy(input_ids=line, use_cache=False).logits[:, -1].float()
            ids.append(int(steered(of_base, of_policy)))
        answers.append(ids[len(prompt) :])
    return answers


@torch.inference_mode()
def cached(base: PreTrainedModel, policy: PreTrainedModel, workload: Workload) -> Answers:
    """(b) One prompt at a time, with a cache for each model."""
    answers = []
    for prompt, length in zip(workload.prompts, workload.lengths, strict=True):
        caches = DynamicCache(config=base.config), DynamicCache(config=policy.config)
        line, ids = torch.tensor([prompt], device=base.device), list[int]()
        for _ in range(length):
            logits = [
                model(input_ids=line, past_key_values=cache, logits_to_keep=1).logits[:, -1].float()
                for model, cache in zip((base, policy), caches, strict=True)
            ]
            token = steered(*logits)
            ids.append(int(token))
            line = token[:, None]
        answers.append(ids)
    return answers


class _Guide(LogitsProcessor):
    """Runs the policy beside `generate`, with a cache of its own, and leaves the chosen token as the only one."""

    def __init__(self, policy: PreTrainedModel, attention_mask: Tensor) -> None:
        self._policy = policy
        self._mask = attention_mask
        self._cache = DynamicCache(config=policy.config)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        new = input_ids[:, self._cache.get_seq_length() :]
        grown = input_ids.shape[1] - self._mask.shape[1]
        self._mask = torch.nn.functional.pad(self._mask, (0, grown), value=1)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -new.shape[1] :]
        output = self._policy(
            input_ids=new,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            logits_to_keep=1,
        )
        chosen = steered(scores.float(), output.logits[:, -1].float())
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)


class _Lengths(StoppingCriteria):
    """Ends each row where its answer is long enough."""

    def __init__(self, prompt_length: int, lengths: Sequence[int], device: torch.device) -> None:
        self._ends = prompt_length + torch.tensor(lengths, device=device)

    def __call__(self, input_ids: Tensor, _scores: object, **_kwargs: object) -> Tensor:
        return input_ids.shape[1] >= self._ends


def _generate(
    base: PreTrainedModel, workload: Workload, num_slots: int, guide: Callable[[Tensor], _Guide] | None
) -> Answers:
    """`generate` on batches of `num_slots` requests in their order, left-padded."""
    answers: Answers = []
    for start in range(0, len(workload.prompts), num_slots):
        prompts = workload.prompts[start : start + num_slots]
        lengths = workload.lengths[start : start + num_slots]
        longest = max(map(len, prompts))
        ids = torch.tensor([[PAD] * (longest - len(p)) + list(p) for p in prompts], device=base.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=base.device)
        output = base.generate(  # type: ignore[operator]  # transformers mistypes its self
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max(lengths),
            do_sample=False,
            pad_token_id=PAD,
            stopping_criteria=StoppingCriteriaList([_Lengths(longest, lengths, base.device)]),
            logits_processor=LogitsProcessorList([guide(mask)] if guide else []),
        )
        rows = output[:, longest:].tolist()
        answers += [row[:length] for row, length in zip(rows, lengths, strict=True)]
    return answers


def guided_generate(base: PreTrainedModel, policy: PreTrainedModel, workload: Workload, *, num_slots: int) -> Answers:
    """(c) Cached and batched: `generate` for the base, with the policy in a logits processor."""
    return _generate(base, workload, num_slots, lambda mask: _Guide(policy, mask))


def unguided_generate(base: PreTrainedModel, workload: Workload, *, num_slots: int) -> Answers:
    """(d) Cached and batched, without guidance."""
    return _generate(base, workload, num_slots, None)
