"""A text that is given, in tokens of the base, as guides with another tokenizer judge it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from worker.engine.cross_tokenizer.runner import TextRunner
from worker.engine.rows import PromptChunk
from worker.engine.runner import Runner
from worker.engine.streams import GuidedStream


def judged_places(
    runners: Sequence[Runner],
    streams: Sequence[GuidedStream],
    before: Sequence[int],
    token_ids: Sequence[int],
    candidates: Tensor,
    *,
    on_forward: Callable[[], None],
) -> dict[int, Tensor]:
    """What each such stream, by its number, gives [n, K] for candidates [n, K] at the places of tokens [n]."""
    found: dict[int, Tensor] = {}
    for model, runner in enumerate(runners):
        numbers = [number for number, stream in enumerate(streams) if stream.weights.model == model]
        if not (numbers and isinstance(runner, TextRunner)):
            continue
        asked = [(streams[number].weights.adapter, streams[number].prompt) for number in numbers]
        parts = []
        for part in runner.judge(asked, before, token_ids, candidates):
            parts.append(part)
            on_forward()
        found |= dict(zip(numbers, torch.stack(parts, dim=1), strict=True))
    return found


def likelihood(
    runner: TextRunner,
    stream: GuidedStream,
    token_ids: Sequence[int],
    num_tokens: int,
    on_forward: Callable[[], None],
) -> float:
    """`log pi(text)` of what the base's tokens spell, in nats; a forward reads up to `num_tokens`."""
    text = runner.text_ids(token_ids)
    if not text:
        return 0.0
    read = (*stream.prompt, *text[:-1])
    piece = PromptChunk(("given", 0), stream.weights.adapter, read, start=0, is_last=True)
    hidden = runner.read([piece], num_tokens, on_forward)[len(stream.prompt) - 1 :]
    return float(runner.log_probabilities(hidden, stream.weights.adapter, text).sum())
