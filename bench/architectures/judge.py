"""An oracle for one request: every text run whole, alone and uncached in float64, each formula as it is written.

Knows transformers and PEFT; of the engine it knows requests and completions, and no code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from worker.engine import Completion, Request, Score, ScoreRequest

Model: TypeAlias = "PreTrainedModel | PeftModel"
ROUNDING = 2e-3
"""Scores this close, in shares of how much logits vary, may come in either order in float32."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one completion."""

    first_wrong: int | None
    """The first token that is not the most likely one by more than rounding; None: there is none."""
    num_ties: int = 0
    """Tokens that are as likely as the most likely one but for rounding."""


class Judge:
    """Decodes nothing: looks at each token of an answer, behind what stands before it."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self._known: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def verdict(self, request: Request, completion: Completion) -> Verdict:
        """Whether a greedy answer is what the request's streams make."""
        token_ids, num_ties = completion.token_ids, 0
        for stream in request.streams:
            self._read(stream.weights, stream.prompt, token_ids)
        ended = () if completion.end_token_id is None else (completion.end_token_id,)
        if not ended and len(token_ids) < request.max_tokens:
            return Verdict(len(token_ids))
        for position, given in enumerate((*token_ids, *ended)):
            lag = self._lag(request, token_ids[:position], given)
            if lag > ROUNDING:
                return Verdict(position, num_ties)
            num_ties += lag > 0
        return Verdict(None, num_ties)

    def _lag(self, request: Request, before: Sequence[int], given: int) -> float:
        """How much likelier the likeliest token is than the given one: 0 where that is it."""
        logits = [self._logits(stream.weights, (*stream.prompt, *before)) for stream in request.streams]
        base = logits[0]
        unit, num_candidates = float(base.std()), request.k or len(base)
        least = base.topk(num_candidates).values[-1]
        near = base >= least - ROUNDING * unit
        if not near[given]:
            return float(least - base[given]) / unit
        if near.sum() > num_candidates:  # which of the last are candidates is rounding: they may be, and need not
            near = base > least + ROUNDING * unit
        guided = base.clone()
        for stream, of_stream in zip(request.streams, logits, strict=True):
            guided += request.strength * stream.reward * of_stream
        return max(0.0, float(guided[near].max() - guided[given]) / unit if near.any() else 0.0)

    def error(self, request: ScoreRequest, score: Score) -> float:
        """The largest distance of a log-probability that was given from the right one."""
        right = []
        self._read(request.weights, request.prompt_ids, request.completion_ids)
        for position, token_id in enumerate(request.completion_ids):
            logits = self._logits(request.weights, (*request.prompt_ids, *request.completion_ids[:position]))
            right.append(float(logits.log_softmax(0)[token_id]))
        return max(abs(one - other) for one, other in zip(right, score.log_probabilities, strict=True))

    def _logits(self, weights: str, text: tuple[int, ...]) -> Tensor:
        """[V], float64, of what comes next."""
        return self._known[weights, text]

    @torch.no_grad()
    def _read(self, weights: str, prompt: tuple[int, ...], answer: tuple[int, ...]) -> None:
        """What comes behind the prompt and behind each token of an answer: one forward of the whole text."""
        text = (*prompt, *answer)
        logits = self._models[weights](input_ids=torch.tensor([text]), use_cache=False).logits[0].double()
        for length in range(len(prompt), len(text) + 1):
            self._known[weights, text[:length]] = logits[length - 1]
