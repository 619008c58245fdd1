"""Teacher-forced measures: what models say of texts that are already written. Plain transformers, batched, no cache.

T completion tokens, V vocabulary, K candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from evaluation.conditions import EngineModel
from evaluation.methods import UNGUIDED
from evaluation.plan import EvaluatedModels
from evaluation.writing import Text, Writer, Writing, is_adapter

BATCH_SIZE = 32


@dataclass(frozen=True)
class Row:
    """A completion after a prompt, in token ids."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@dataclass(frozen=True)
class Scores:
    """Scores of one text: means over its tokens, in nats per token."""

    num_tokens: int
    kl: float | None
    """From the method's distribution to that of the base with the same prompt, over the method's candidates; None where
    a text was not drawn from one distribution, but chosen among several."""
    kl_unguided: float | None
    """The same, to the base that was told of no preference, over its whole vocabulary."""
    surprise_base: float
    """-log p of the text under the base that was told of no preference."""
    surprise_independent: float | None
    """-log p of the text alone under the independent language model."""


@dataclass(frozen=True)
class RankScores:
    """Of one completion, summed over its tokens: by what it can be ranked against another answer to its prompt."""

    reward: float
    """The log-ratio of policy and reference."""
    guided: float
    """The log-probability, its tokens drawn from softmax(z_base + strength * reward)."""
    base: float
    """The log-probability under the base."""


class Scorer:
    """The models of one writer once more, as plain transformers, and an independent language model."""

    def __init__(self, models: EvaluatedModels, writer: Writer, language_model: str | None = None) -> None:
        self._writer = writer
        self._device = writer.engine.device
        self._models = {EngineModel.BASE.value: self._load(models.base)}
        for weights, path in ((EngineModel.POLICY, models.policy), (EngineModel.REFERENCE, models.reference)):
            if path is not None:
                self._models[weights.value] = self._load(path, base=models.base)
        self._language_model = None if language_model is None else self._load(language_model)

    def _load(self, path: str, base: str | None = None) -> PreTrainedModel:
        whole = base if base is not None and is_adapter(path) else path
        model = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32)
        if whole != path:
            model = PeftModel.from_pretrained(model, path).merge_and_unload()
        model.requires_grad_(requires_grad=False)
        model.train(mode=False)
        placed: PreTrainedModel = model.to(self._device)  # type: ignore[arg-type]  # its decorator hides the signature
        return placed

    @torch.inference_mode()
    def score(self, writing: Writing) -> list[Scores]:
        """The scores of a method's texts, in their order."""
        scores: list[Scores] = []
        for start in range(0, len(writing.texts), BATCH_SIZE):
            scores += self._score(writing, writing.texts[start : start + BATCH_SIZE])
        return scores

    def _score(self, writing: Writing, texts: Sequence[Text]) -> Iterator[Scores]:
        method = writing.method
        streams = [self._writer.streams(method, text.task) for text in texts]
        plain = [self._writer.streams(UNGUIDED, text.task)[0].prompt for text in texts]
        completions = [text.token_ids for text in texts]
        forwards: dict[object, list[Tensor]] = {}

        def logits(weights: str, prompts: list[tuple[int, ...]]) -> list[Tensor]:
            key = (weights, tuple(prompts))
            if key not in forwards:
                rows = [Row(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
                forwards[key] = completion_logits(self._models[weights], rows)
            return forwards[key]

        by_stream = [
            logits(stream.weights, [of_text[index].prompt for of_text in streams])
            for index, stream in enumerate(streams[0])
        ]
        base = logits(EngineModel.BASE, [of_text[0].prompt for of_text in streams])
        unguided = logits(EngineModel.BASE, plain)
        independent = self._surprises_alone(completions)
        for index, text in enumerate(texts):
            coefficients = [method.strength * stream.reward for stream in streams[index]]
            coefficients[0] += 1.0
            chosen = torch.tensor(text.token_ids, device=self._device)[:, None]  # [T, 1]
            mixed = [of_stream[index] for of_stream in by_stream]
            unguided_log_probs = unguided[index].log_softmax(-1)
            drawn = method.temperature == 0
            yield Scores(
                num_tokens=len(text.token_ids),
                kl=candidate_kl(mixed, coefficients, base[index], method.k, over_candidates=True) if drawn else None,
                kl_unguided=candidate_kl(mixed, coefficients, unguided[index], method.k, over_candidates=False)
                if drawn
                else None,
                surprise_base=-float(unguided_log_probs.gather(1, chosen).mean()),
                surprise_independent=None if independent is None else independent[index],
            )

    def _surprises_alone(self, completions: Sequence[tuple[int, ...]]) -> list[float] | None:
        """-log p per token of the texts without any prompt; None where there is no independent model."""
        if self._language_model is None:
            return None
        start = (min(self._writer.engine.eos_token_ids),)
        rows = [Row(start, completion) for completion in completions]
        sums = log_probabilities(self._language_model, rows)
        return [-total / len(completion) for total, completion in zip(sums, completions, strict=True)]

    @torch.inference_mode()
    def log_ratios(self, rows: Sequence[Row]) -> list[float]:
        """The policy's reward of each completion: sum over its tokens of log pi_policy - log pi_reference."""
        reference = EngineModel.REFERENCE.value if self._writer.has_reference else EngineModel.BASE.value
        policy = log_probabilities(self._models[EngineModel.POLICY.value], rows)
        other = log_probabilities(self._models[reference], rows)
        return [ours - theirs for ours, theirs in zip(policy, other, strict=True)]

    @torch.inference_mode()
    def rank(self, rows: Sequence[Row], strength: float) -> list[RankScores]:
        """What each completion is ranked by."""
        reference = EngineModel.REFERENCE.value if self._writer.has_reference else EngineModel.BASE.value
        names = (EngineModel.BASE.value, EngineModel.POLICY.value, reference)
        scores: list[RankScores] = []
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            forwards = {name: completion_logits(self._models[name], batch) for name in dict.fromkeys(names)}
            for index, row in enumerate(batch):
                base, policy, other = (forwards[name][index] for name in names)
                guided = base + strength * (policy - other)
                of_base, of_policy, of_other, of_guided = (
                    float(_chosen(logits, row.completion).sum()) for logits in (base, policy, other, guided)
                )
                scores.append(RankScores(reward=of_policy - of_other, guided=of_guided, base=of_base))
        return scores


def candidate_kl(
    logits: Sequence[Tensor], coefficients: Sequence[float], base: Tensor, k: int, *, over_candidates: bool
) -> float:
    """KL(method || base) per token, where the method draws from its first stream's k best: logits [T, V] each.

    The base is normalised over the same candidates, or else over the whole vocabulary.
    """
    candidates = logits[0].topk(min(k, logits[0].shape[-1]), dim=-1).indices  # [T, K]
    score = sum(
        (coefficient * stream.gather(1, candidates) for coefficient, stream in zip(coefficients, logits, strict=True)),
        start=torch.zeros_like(candidates, dtype=torch.float32),
    )
    method = score.log_softmax(-1)
    if over_candidates:
        other = base.gather(1, candidates).log_softmax(-1)
    else:
        other = base.log_softmax(-1).gather(1, candidates)
    return float((method.exp() * (method - other)).sum(-1).mean())


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, rows: Sequence[Row]) -> list[float]:
    """The log-probability of each completion: the sum over its tokens."""
    sums: list[float] = []
    for start in range(0, len(rows), BATCH_SIZE):
        batch = rows[start : start + BATCH_SIZE]
        for logits, row in zip(completion_logits(model, batch), batch, strict=True):
            sums.append(float(_chosen(logits, row.completion).sum()))
    return sums


@torch.inference_mode()
def completion_logits(model: PreTrainedModel, rows: Sequence[Row]) -> list[Tensor]:
    """What the model says at every token of each completion: [T, V] each."""
    longest = max(len(row.prompt) + len(row.completion) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        length = len(row.prompt) + len(row.completion)
        ids[index, :length] = torch.tensor(row.prompt + row.completion)
        mask[index, :length] = 1
    logits: Tensor = model(ids.to(model.device), attention_mask=mask.to(model.device)).logits.float()
    starts = [len(row.prompt) - 1 for row in rows]
    return [
        logits[i, start : start + len(row.completion)] for i, (start, row) in enumerate(zip(starts, rows, strict=True))
    ]


def _chosen(logits: Tensor, completion: Sequence[int]) -> Tensor:
    """Log-probabilities of the completion's tokens: [T, V] -> [T]."""
    chosen = torch.tensor(completion, device=logits.device)[:, None]
    return logits.log_softmax(-1).gather(1, chosen)[:, 0]
