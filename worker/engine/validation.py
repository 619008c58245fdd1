"""What a request must be, checked before anything is queued."""

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite

from worker.engine.errors import (
    EmptyPromptError,
    MaxTokensError,
    NoStreamsError,
    NumCandidatesError,
    PromptTooLongError,
    RewardError,
    StrengthError,
    TemperatureError,
    TokenOutOfRangeError,
    TopPError,
    UnknownWeightsError,
)
from worker.engine.request import Request, Stream


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
    if stream.weights not in limits.weights:
        raise UnknownWeightsError(weights=stream.weights, names=", ".join(limits.weights))
    if not isfinite(stream.reward):
        raise RewardError(stream=index, reward=stream.reward)
    num_tokens = len(stream.prompt)
    if num_tokens == 0:
        raise EmptyPromptError(stream=index)
    if num_tokens + max_tokens > limits.max_length:
        raise PromptTooLongError(
            stream=index, prompt_tokens=num_tokens, max_tokens=max_tokens, max_length=limits.max_length
        )
    for token_id in (min(stream.prompt), max(stream.prompt)):
        if not 0 <= token_id < limits.vocab_size:
            raise TokenOutOfRangeError(stream=index, token_id=token_id, largest=limits.vocab_size - 1)
