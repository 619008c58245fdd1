"""What a request must be, checked before anything is queued."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isfinite

from worker.engine.errors import (
    EmptyPromptError,
    EmptyTextError,
    MaxTokensError,
    NoStreamsError,
    NumCandidatesError,
    PromptTooLongError,
    RewardError,
    StrengthError,
    TemperatureError,
    TextTooLongError,
    TokenOutOfRangeError,
    TopPError,
    UnknownWeightsError,
)
from worker.engine.request import Request, ScoreRequest, Stream


@dataclass(frozen=True, slots=True)
class Limits:
    """What the loaded models can take."""

    vocab_size: int
    max_length: int
    weights: Collection[str]


def check_request(request: Request, limits: Limits) -> None:
    """Raise the RequestError that names what is wrong with the request, if anything is."""
    if not request.streams:
        raise NoStreamsError
    if not 1 <= request.k <= limits.vocab_size:
        raise NumCandidatesError(k=request.k, vocab_size=limits.vocab_size)
    if request.max_tokens < 1:
        raise MaxTokensError(max_tokens=request.max_tokens)
    if not (isfinite(request.temperature) and request.temperature >= 0):
        raise TemperatureError(temperature=request.temperature)
    if not 0 < request.top_p <= 1:
        raise TopPError(top_p=request.top_p)
    if not isfinite(request.strength):
        raise StrengthError(strength=request.strength)
    for index, stream in enumerate(request.streams):
        _check_stream(index, stream, request.max_tokens, limits)


def _check_stream(index: int, stream: Stream, max_tokens: int, limits: Limits) -> None:
    _check_weights(stream.weights, limits)
    if not isfinite(stream.reward):
        raise RewardError(stream=index, reward=stream.reward)
    num_tokens = len(stream.prompt)
    if num_tokens == 0:
        raise EmptyPromptError(stream=index)
    if num_tokens + max_tokens > limits.max_length:
        raise PromptTooLongError(
            stream=index, prompt_tokens=num_tokens, max_tokens=max_tokens, max_length=limits.max_length
        )
    _check_tokens(stream.prompt, f"The prompt of stream {index}", limits)


def check_score_request(request: ScoreRequest, limits: Limits) -> None:
    """Raise the RequestError that names what is wrong with the text to score, if anything is."""
    _check_weights(request.weights, limits)
    if not request.prompt_ids or not request.completion_ids:
        raise EmptyTextError
    num_tokens = len(request.prompt_ids) + len(request.completion_ids)
    if num_tokens > limits.max_length:
        raise TextTooLongError(num_tokens=num_tokens, max_length=limits.max_length)
    _check_tokens((*request.prompt_ids, *request.completion_ids), "The text", limits)


def _check_weights(name: str, limits: Limits) -> None:
    if name not in limits.weights:
        raise UnknownWeightsError(weights=name, names=", ".join(limits.weights))


def _check_tokens(token_ids: Sequence[int], where: str, limits: Limits) -> None:
    for token_id in (min(token_ids), max(token_ids)):
        if not 0 <= token_id < limits.vocab_size:
            raise TokenOutOfRangeError(where=where, token_id=token_id, largest=limits.vocab_size - 1)
