"""What a request must be, checked before anything is queued."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from worker.engine.errors import (
    BiasedTokenError,
    BiasTwiceError,
    BiasValueError,
    BudgetError,
    CandidatesNeededError,
    EmptyPromptError,
    EmptyTextError,
    ForeignBaseStreamError,
    FrequencyPenaltyError,
    MaxTokensError,
    MinPError,
    MinTokensError,
    NoRoomForAnswerError,
    NoStreamsError,
    NumCandidatesError,
    PresencePenaltyError,
    PromptTooLongError,
    RepetitionPenaltyError,
    RewardError,
    StrengthError,
    TemperatureError,
    TextTooLongError,
    TokenOutOfRangeError,
    TopPError,
    UnknownWeightsError,
)
from worker.engine.request import Request, ScoreRequest, Stream
from worker.engine.streams import GuidedStream

LARGEST_PENALTY = 2
LARGEST_BIAS = 100
"""Largest bias on a logit, as in OpenAI's API."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that the loaded models set to a request: vocabulary, length, names of weights."""

    vocab_size: int
    max_length: int
    weights: Collection[str]
    own_vocabularies: Mapping[str, int] = field(default_factory=dict)
    """Of weights whose tokens are not the base's: their ids are below this."""

    def vocab_size_of(self, weights: str) -> int:
        """Ids of these weights' prompts are below this."""
        return self.own_vocabularies.get(weights, self.vocab_size)


def check_request(request: Request, limits: Limits) -> None:
    """Raise the RequestError that names what is wrong with the request, if anything is."""
    if not request.streams:
        raise NoStreamsError
    _check_sampling(request, limits)
    _check_processors(request, limits)
    if not isfinite(request.strength):
        raise StrengthError(strength=request.strength)
    if request.max_kl is not None and not (isfinite(request.max_kl) and request.max_kl >= 0):
        raise BudgetError(max_kl=request.max_kl)
    for index, stream in enumerate(request.streams):
        _check_stream(index, stream, limits)
    _check_length(request, limits)


def check_candidates(request: Request, streams: Sequence[GuidedStream]) -> None:
    """Raise the RequestError of a request whose streams guide, but do not know which candidates."""
    if request.k is None and any(stream.reward for stream in streams):
        raise CandidatesNeededError


def _check_sampling(request: Request, limits: Limits) -> None:
    if request.k is not None and not 1 <= request.k <= limits.vocab_size:
        raise NumCandidatesError(k=request.k, vocab_size=limits.vocab_size)
    if request.max_tokens < 1:
        raise MaxTokensError(max_tokens=request.max_tokens)
    if not 0 <= request.min_tokens <= request.max_tokens:
        raise MinTokensError(min_tokens=request.min_tokens, max_tokens=request.max_tokens)
    if not (isfinite(request.temperature) and request.temperature >= 0):
        raise TemperatureError(temperature=request.temperature)
    if not 0 < request.top_p <= 1:
        raise TopPError(top_p=request.top_p)
    if not 0 <= request.min_p < 1:
        raise MinPError(min_p=request.min_p)


def _check_processors(request: Request, limits: Limits) -> None:
    if not (isfinite(request.repetition_penalty) and request.repetition_penalty > 0):
        raise RepetitionPenaltyError(repetition_penalty=request.repetition_penalty)
    if not abs(request.frequency_penalty) <= LARGEST_PENALTY:
        raise FrequencyPenaltyError(frequency_penalty=request.frequency_penalty)
    if not abs(request.presence_penalty) <= LARGEST_PENALTY:
        raise PresencePenaltyError(presence_penalty=request.presence_penalty)
    named: set[int] = set()
    for token_id, value in request.logit_bias:
        if not 0 <= token_id < limits.vocab_size:
            raise BiasedTokenError(token_id=token_id, largest=limits.vocab_size - 1)
        if not abs(value) <= LARGEST_BIAS:
            raise BiasValueError(token_id=token_id, value=value)
        if token_id in named:
            raise BiasTwiceError(token_id=token_id)
        named.add(token_id)


def _check_stream(index: int, stream: Stream, limits: Limits) -> None:
    _check_weights(stream.weights, limits)
    if not isfinite(stream.reward):
        raise RewardError(stream=index, reward=stream.reward)
    if not stream.prompt:
        raise EmptyPromptError(stream=index)
    if index == 0 and stream.weights in limits.own_vocabularies:
        raise ForeignBaseStreamError(weights=stream.weights)
    _check_tokens(stream.prompt, f"The prompt of stream {index}", limits.vocab_size_of(stream.weights))


def _check_length(request: Request, limits: Limits) -> None:
    """All streams decode in lockstep: the longest one says how much room is left."""
    prompt_tokens = max(len(stream.prompt) for stream in request.streams)
    room = limits.max_length - prompt_tokens
    if room < 1:
        raise NoRoomForAnswerError(prompt_tokens=prompt_tokens, max_length=limits.max_length, excess=1 - room)
    if request.max_tokens > room:
        raise PromptTooLongError(
            prompt_tokens=prompt_tokens, max_tokens=request.max_tokens, max_length=limits.max_length, room=room
        )


def check_score_request(request: ScoreRequest, limits: Limits) -> None:
    """Raise the RequestError that names what is wrong with the text to score, if anything is."""
    _check_weights(request.weights, limits)
    if not request.prompt_ids or not request.completion_ids:
        raise EmptyTextError
    num_tokens = len(request.prompt_ids) + len(request.completion_ids)
    if num_tokens > limits.max_length:
        raise TextTooLongError(num_tokens=num_tokens, max_length=limits.max_length)
    token_ids = (*request.prompt_ids, *request.completion_ids)
    _check_tokens(token_ids, "The text", limits.vocab_size_of(request.weights))


def _check_weights(name: str, limits: Limits) -> None:
    if name not in limits.weights:
        raise UnknownWeightsError(weights=name, names=", ".join(limits.weights))


def _check_tokens(token_ids: Sequence[int], where: str, vocab_size: int) -> None:
    for token_id in (min(token_ids), max(token_ids)):
        if not 0 <= token_id < vocab_size:
            raise TokenOutOfRangeError(where=where, token_id=token_id, largest=vocab_size - 1)
