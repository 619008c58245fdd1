"""How likely given completions are: whole texts, many in one forward, nothing decoded.

Token ids only. Uses rows of the cache behind those that decode, and leaves nothing in them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from worker.engine.cache.memory import within_memory
from worker.engine.errors import OutOfMemoryError, RequestError
from worker.engine.models import EngineModels
from worker.engine.request import Failure, Score, ScoreRequest
from worker.engine.rows import PromptChunk
from worker.engine.runner import Runner
from worker.engine.validation import check_score_request

LOGITS_AT_ONCE = 2**25
"""Logits that exist at once: 128 MiB in float32."""

Outcome: TypeAlias = Score | Failure


@dataclass(frozen=True, slots=True)
class _Text:
    """A request that passed the checks, and its place among all."""

    index: int
    request: ScoreRequest
    adapter: int

    @property
    def piece(self) -> PromptChunk:
        """All that has to be read: the last token predicts nothing that is asked for."""
        token_ids = (*self.request.prompt_ids, *self.request.completion_ids[:-1])
        return PromptChunk((self.request.request_id, 0), self.adapter, token_ids, start=0, is_last=True)


def score(
    requests: Sequence[ScoreRequest],
    models: EngineModels,
    *,
    num_tokens: int,
    num_rows: int,
    on_forward: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """The outcomes, in the order of the requests; a forward reads up to `num_tokens`, of up to `num_rows` texts.

    `on_forward` is called after each forward. Where the device runs out of memory, the texts of a forward are halved; a
    text that does not fit alone is a Failure.
    """
    outcomes: dict[int, Outcome] = {}
    texts: list[list[_Text]] = [[] for _ in models.runners]
    for index, request in enumerate(requests):
        try:
            check_score_request(request, models.limits)
        except RequestError as error:
            outcomes[index] = Failure(request.request_id, error.code, str(error))
        else:
            weights = models.weights[request.weights]
            texts[weights.model].append(_Text(index, request, weights.adapter))
    for runner, of_runner in zip(models.runners, texts, strict=True):
        for group in _groups(of_runner, num_tokens, num_rows):
            of_group = _score_group(runner, group, num_tokens, on_forward)
            outcomes.update(zip((text.index for text in group), of_group, strict=True))
    return [outcomes[index] for index in range(len(requests))]


def _groups(texts: Sequence[_Text], num_tokens: int, num_rows: int) -> Iterator[list[_Text]]:
    """Texts of like lengths, so that attention, which pads to the longest, pads little; a long one is alone."""
    group: list[_Text] = []
    size = 0
    for text in sorted(texts, key=lambda text: len(text.piece.token_ids)):
        length = len(text.piece.token_ids)
        if group and (size + length > num_tokens or len(group) == num_rows):
            yield group
            group, size = [], 0
        group.append(text)
        size += length
    if group:
        yield group


def _score_group(
    runner: Runner, texts: Sequence[_Text], num_tokens: int, on_forward: Callable[[], None]
) -> list[Outcome]:
    outcomes = within_memory(lambda: _read(runner, texts, num_tokens, on_forward))
    if outcomes is not None:
        return outcomes
    runner.shrink()
    if len(texts) == 1:
        reason = OutOfMemoryError()
        return [Failure(texts[0].request.request_id, reason.code, str(reason))]
    middle = len(texts) // 2
    halves = (texts[:middle], texts[middle:])
    return [outcome for half in halves for outcome in _score_group(runner, half, num_tokens, on_forward)]


@torch.inference_mode()
def _read(runner: Runner, texts: Sequence[_Text], num_tokens: int, on_forward: Callable[[], None]) -> list[Outcome]:
    pieces = [text.piece for text in texts]
    hidden = runner.read(pieces, num_tokens, on_forward)
    of_texts = torch.split_with_sizes(hidden, [len(piece.token_ids) for piece in pieces])
    return [_outcome(runner, text, states) for text, states in zip(texts, of_texts, strict=True)]


def _outcome(runner: Runner, text: _Text, hidden: Tensor) -> Outcome:
    """The score of one text from its last hidden states [tokens, d], prompt and completion."""
    request = text.request
    targets = torch.tensor(request.completion_ids, device=hidden.device)
    predicting = hidden[len(request.prompt_ids) - 1 :]
    at_once = max(1, LOGITS_AT_ONCE // runner.head.vocab_size)
    parts = []
    for start in range(0, len(targets), at_once):
        part = slice(start, start + at_once)
        logits = runner.logits_of_text(predicting[part], text.adapter).float()
        parts.append(logits.gather(1, targets[part, None])[:, 0] - logits.logsumexp(1))
    log_probabilities = torch.cat(parts)
    if not log_probabilities.isfinite().all():
        return Failure(request.request_id, "non_finite_logits", "The logits of this text are not finite.")
    return Score(request.request_id, tuple(log_probabilities.tolist()))
