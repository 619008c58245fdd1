"""What guided each token of a completion that is there already: rewards, candidates, and what the budget left.

The completion is read in one forward per stream, and every number is what a decoding step at that place has: the same
candidates, processors and budget, made by the same functions. Token ids only; nothing is decoded.

    r_t(a) = sum_s reward_s * log pi_s(a)       guided_t(a) ~ base_t(a) exp(strength_t * r_t(a))

base and pi_s are normalised over the k candidates of the place, as in decoding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.cache.memory import within_memory
from worker.engine.cross_tokenizer.given import judged_places, likelihood
from worker.engine.cross_tokenizer.runner import TextRunner
from worker.engine.errors import EmptyTextError, GivenTextOutgrowsGuideError, OutOfMemoryError, RequestError
from worker.engine.guidance.budget import divergence, strength_within
from worker.engine.guidance.processors import GENERATED, Penalties, Processors, applied, build_processors
from worker.engine.guidance.steering import Candidates, all_finite, possible, propose, scores
from worker.engine.models import EngineModels
from worker.engine.request import CandidateReward, Failure, Request, ScoreRequest, TokenReward, TokenRewards
from worker.engine.rows import PromptChunk
from worker.engine.sequence import Sequence as Decoded
from worker.engine.streams import GuidedStream, guided_streams
from worker.engine.validation import check_candidates, check_request, check_score_request

LOGITS_AT_ONCE = 2**24
"""Logits that exist at once, of all streams: 64 MiB in float32."""
SHOWN_OF_ALL = 10
"""Candidates of a request that decides among the whole vocabulary."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A completion that passed the checks, and the streams that are to read it."""

    request: Request
    streams: tuple[GuidedStream, ...]
    completion_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Places:
    """Some n places of the completion, as a step sees them; M streams, K candidates."""

    candidates: Candidates
    stream_logits: Tensor
    """[n, M, K], float64, unprocessed."""
    of_given: Tensor
    """[n, M], float64, unprocessed, of the token that stands there."""
    log_probabilities: Tensor
    """[n, M], log-probabilities of that token over the whole vocabulary."""


def token_rewards(
    request: Request,
    completion_ids: Sequence[int],
    models: EngineModels,
    *,
    num_tokens: int,
    on_forward: Callable[[], None] = lambda: None,
) -> TokenRewards | Failure:
    """What guided each token of the completion under the request, whose own length and seed are of no account.

    `on_forward` is called after each forward, which reads up to `num_tokens`.
    """
    try:
        _check(request, completion_ids, models)
        streams = guided_streams(request, models.weights)
        check_candidates(request, streams, models.limits)
    except RequestError as error:
        return Failure(request.request_id, error.code, str(error))
    text = _Text(request, streams, tuple(completion_ids))
    outcome = within_memory(lambda: _read(text, models, num_tokens, on_forward))
    if outcome is not None:
        return outcome
    for runner in models.runners:
        runner.shrink()
    reason = OutOfMemoryError()
    return Failure(request.request_id, reason.code, str(reason))


def _check(request: Request, completion_ids: Sequence[int], models: EngineModels) -> None:
    if not completion_ids:
        raise EmptyTextError
    num_tokens = len(completion_ids)
    as_long = replace(request, max_tokens=num_tokens, min_tokens=min(request.min_tokens, num_tokens))
    check_request(as_long, models.limits)
    check_score_request(
        ScoreRequest(
            request_id=request.request_id, prompt_ids=request.streams[0].prompt, completion_ids=tuple(completion_ids)
        ),
        models.limits,
    )
    for stream in request.streams:
        runner = models.runners[models.weights[stream.weights].model]
        if isinstance(runner, TextRunner):
            in_own = len(stream.prompt) + len(runner.text_ids(completion_ids))
            if in_own > runner.max_length:
                raise GivenTextOutgrowsGuideError(
                    num_tokens=in_own, weights=stream.weights, max_length=runner.max_length
                )


@torch.inference_mode()
def _read(text: _Text, models: EngineModels, num_tokens: int, on_forward: Callable[[], None]) -> TokenRewards | Failure:
    request, streams = text.request, text.streams
    own = [stream for stream in streams if models.runners[stream.weights.model].proposes]
    hidden = [_hidden(models, stream, text.completion_ids, num_tokens, on_forward) for stream in own]
    tokens: list[TokenReward] = []
    totals = [0.0] * len(streams)
    at_once = max(1, LOGITS_AT_ONCE // (models.limits.vocab_size * len(streams)))
    for start in range(0, len(text.completion_ids), at_once):
        part = slice(start, start + at_once)
        logits = [
            models.runners[stream.weights.model]
            .logits_of_text(states[part], stream.weights.adapter)[:, : models.limits.vocab_size]
            .float()
            for stream, states in zip(own, hidden, strict=True)
        ]
        places = _places(text, part, logits, models, on_forward)
        found = _rewards(text, part, places)
        if found is None:
            message = f"A stream's logits are not finite between completion tokens {start} and {start + at_once}."
            return Failure(request.request_id, "non_finite_logits", message)
        tokens += found
        sums = places.log_probabilities.sum(0).tolist()
        totals = [total + of_part for total, of_part in zip(totals, sums, strict=True)]
    for number, stream in enumerate(streams):
        runner = models.runners[stream.weights.model]
        if isinstance(runner, TextRunner):
            totals[number] = likelihood(runner, stream, text.completion_ids, num_tokens, on_forward)
    return TokenRewards(request.request_id, tuple(tokens), tuple(totals))


def _hidden(
    models: EngineModels,
    stream: GuidedStream,
    completion_ids: tuple[int, ...],
    num_tokens: int,
    on_forward: Callable[[], None],
) -> Tensor:
    """[n, d], the states that predict the n tokens of the completion."""
    token_ids = (*stream.prompt, *completion_ids[:-1])
    piece = PromptChunk(("token rewards", 0), stream.weights.adapter, token_ids, start=0, is_last=True)
    hidden = models.runners[stream.weights.model].read([piece], num_tokens, on_forward)
    return hidden[len(stream.prompt) - 1 :]


def _places(
    text: _Text, part: slice, logits: list[Tensor], models: EngineModels, on_forward: Callable[[], None]
) -> _Places:
    """These places, from the logits [n, V] of each stream whose tokens are the base's."""
    given = torch.tensor(text.completion_ids[part], device=models.device)[:, None]
    processors = _processors(text, part, models)
    numbers = torch.arange(part.start, part.start + len(given), device=models.device)
    with applied(processors, logits[0], numbers) as processed:
        candidates = propose(processed, SHOWN_OF_ALL if text.request.k is None else text.request.k)
    asked = torch.cat([candidates.token_ids, given], dim=1)
    before, token_ids = text.completion_ids[: part.start], text.completion_ids[part]
    foreign = judged_places(models.runners, text.streams, before, token_ids, asked, on_forward=on_forward)
    own = iter(logits)
    values, log_probabilities = [], []
    for number in range(len(text.streams)):
        if number in foreign:
            of_asked = foreign[number]
            norm = of_asked[:, -1]  # the text is likely as a whole: no part of that belongs to one place
        else:
            of_all = next(own)
            of_asked = of_all.gather(1, asked).double()
            norm = of_all.double().logsumexp(1)
        values.append(of_asked)
        log_probabilities.append(of_asked[:, -1] - norm)
    stacked = torch.stack(values, dim=1)
    return _Places(candidates, stacked[:, :, :-1], stacked[:, :, -1], torch.stack(log_probabilities, dim=1))


def _processors(text: _Text, part: slice, models: EngineModels) -> Processors | None:
    """The request's, with each place as a slot of its own, whose history is what stands before it."""
    num_places = len(text.completion_ids[part])
    copies = [Decoded(text.request, text.streams) for _ in range(num_places)]
    processors = build_processors(copies, models.limits.vocab_size, models.eos_token_ids, models.device)
    if processors is None or processors.penalties is None:
        return processors
    return replace(processors, penalties=_counted_before(processors.penalties, text, part.start))


def _counted_before(penalties: Penalties, text: _Text, start: int) -> Penalties:
    """The same where each place's history, from place `start` on, has the tokens of the completion before it, too."""
    num_places = len(penalties.slots)
    for index, token_id in enumerate(text.completion_ids[: start + num_places - 1]):
        penalties.counts[max(0, index + 1 - start) :, token_id] += GENERATED
    seen = sorted({*text.streams[0].prompt, *text.completion_ids})
    of_places = torch.tensor(seen, device=penalties.seen.device).expand(num_places, -1)
    return replace(penalties, seen=of_places, most_seen=len(seen))


def _rewards(text: _Text, part: slice, places: _Places) -> list[TokenReward] | None:
    """The rewards of the tokens of one part; None where logits are broken."""
    proposed, stream_logits = places.candidates, places.stream_logits
    allowed = possible(proposed, stream_logits)
    if not bool((all_finite(proposed, stream_logits, allowed) & places.of_given.isfinite().all(1)).all()):
        return None
    base = proposed.logits.double()
    shares = torch.tensor([[stream.reward for stream in text.streams]], dtype=torch.float64, device=base.device)
    shares = shares.expand(len(base), -1)
    # r_t is normalised over the candidates: what that subtracts is the same for all tokens of a place.
    norms = stream_logits.masked_fill(~allowed[:, None], -torch.inf).logsumexp(-1)  # [n, M]
    offset = (norms * shares).sum(1)
    of_given = (places.of_given * shares).sum(1) - offset
    rewards = scores(stream_logits, shares) - offset[:, None]
    strength = _strengths(text, base, rewards, allowed)
    score = base + strength[:, None] * rewards
    log_base, log_guided = (values.masked_fill(~allowed, -torch.inf).log_softmax(-1) for values in (base, score))
    shown = _candidates(allowed, proposed.token_ids, log_base, rewards, log_guided)
    of_places = torch.stack(
        [places.log_probabilities[:, 0], of_given, strength, divergence(score, base, allowed)], dim=1
    )
    given = zip(text.completion_ids[part], of_places.tolist(), shown, strict=True)
    return [
        TokenReward(token_id, log_probability, reward, strength_used, kl, candidates)
        for token_id, (log_probability, reward, strength_used, kl), candidates in given
    ]


def _strengths(text: _Text, base: Tensor, rewards: Tensor, allowed: Tensor) -> Tensor:
    """[n], what the budget leaves of the strength at each place; 0 where nothing guides."""
    request = text.request
    if not any(stream.reward for stream in text.streams):
        return torch.zeros_like(base[:, 0])
    strength = torch.full_like(base[:, 0], request.strength)
    if request.max_kl is None:
        return strength
    return strength_within(base, rewards, allowed, strength, torch.full_like(strength, request.max_kl))


def _candidates(
    allowed: Tensor, token_ids: Tensor, log_base: Tensor, rewards: Tensor, log_guided: Tensor
) -> Iterator[tuple[CandidateReward, ...]]:
    """The candidates of each place, from tensors [n, K]."""
    columns = (allowed, token_ids, log_base, rewards, log_guided)
    for place in zip(*(column.tolist() for column in columns), strict=True):
        yield tuple(CandidateReward(*numbers) for is_allowed, *numbers in zip(*place, strict=True) if is_allowed)
