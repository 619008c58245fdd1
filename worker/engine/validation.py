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
    GuideTooShortError,
    MaxTokensError,
    MinPError,
    MinTokensError,
    NoRoomForAnswerError,
    NoRoomInGuideError,
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
    TooManyJudgedError,
    TopPError,
    UnknownWeightsError,
)
from worker.engine.request import Request, ScoreRequest, Stream
from worker.engine.streams import GuidedStream

LARGEST_PENALTY = 2
LARGEST_BIAS = 100
"""Largest bias on a logit, as in OpenAI's API."""


MOST_JUDGED = 256
"""Candidates of guides with another tokenizer: each is a branch of its own, and sees all others as what it is not."""


@dataclass(frozen=True, slots=True)
class OwnTokens:
    """Limits of weights whose tokens are not the base's, counted in their own."""

    vocab_size: int
    max_length: int
    """Most tokens of a prompt and what an answer spells, together."""
    per_token: int
    """Tokens that an answer may have for each of the base's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that the loaded models set to a request: vocabulary, length, names of weights."""

    vocab_size: int
    max_length: int
    weights: Collection[str]
    own_tokens: Mapping[str, OwnTokens] = field(default_factory=dict)
    """Those of weights whose tokens are not the base's, by name."""

    def vocab_size_of(self, weights: str) -> int:
        """Ids of these weights' prompts are below this."""
        own = self.own_tokens.get(weights)
        return self.vocab_size if own is None else own.vocab_size

    def room(self, streams: Sequence[Stream]) -> int:
        """Most tokens that an answer to these streams may have; below 1 where there is no room for one."""
        return min(self.room_behind(stream) for stream in streams)

    def room_behind(self, stream: Stream) -> int:
        """Most tokens of the base's behind this stream's prompt."""
        own = self.own_tokens.get(stream.weights)
        if own is None:
            return self.max_length - len(stream.prompt)
        return (own.max_length - len(stream.prompt)) // own.per_token


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


def check_candidates(request: Request, streams: Sequence[GuidedStream], limits: Limits) -> None:
    """Raise the RequestError of a request whose streams guide, but do not know which candidates, or among too many."""
    if request.k is None and any(stream.reward for stream in streams):
        raise CandidatesNeededError
    foreign = next((stream.weights for stream in request.streams if stream.weights in limits.own_tokens), None)
    if foreign is not None and request.k is not None and request.k > MOST_JUDGED and len(streams) > 1:
        raise TooManyJudgedError(k=request.k, weights=foreign, most=MOST_JUDGED)


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
    if index == 0 and stream.weights in limits.own_tokens:
        raise ForeignBaseStreamError(weights=stream.weights)
    _check_tokens(stream.prompt, f"The prompt of stream {index}", limits.vocab_size_of(stream.weights))


def _check_length(request: Request, limits: Limits) -> None:
    """All streams decode in lockstep: the one that has the least room says how much is left."""
    shortest = min(request.streams, key=limits.room_behind)
    prompt_tokens, room = len(shortest.prompt), limits.room_behind(shortest)
    own = limits.own_tokens.get(shortest.weights)
    if own is not None:
        _check_length_of_guide(shortest, own, request.max_tokens, room)
        return
    if room < 1:
        raise NoRoomForAnswerError(prompt_tokens=prompt_tokens, max_length=limits.max_length, excess=1 - room)
    if request.max_tokens > room:
        raise PromptTooLongError(
            prompt_tokens=prompt_tokens, max_tokens=request.max_tokens, max_length=limits.max_length, room=room
        )


def _check_length_of_guide(stream: Stream, own: OwnTokens, max_tokens: int, room: int) -> None:
    prompt_tokens = len(stream.prompt)
    facts = {"prompt_tokens": prompt_tokens, "weights": stream.weights, "max_length": own.max_length}
    if room < 1:
        raise NoRoomInGuideError(**facts, excess=prompt_tokens + own.per_token - own.max_length)
    if max_tokens > room:
        raise GuideTooShortError(**facts, per_token=own.per_token, max_tokens=max_tokens, room=room)


def check_score_request(request: ScoreRequest, limits: Limits) -> None:
    """Raise the RequestError that names what is wrong with the text to score, if anything is."""
    _check_weights(request.weights, limits)
    if not request.prompt_ids or not request.completion_ids:
        raise EmptyTextError
    num_tokens = len(request.prompt_ids) + len(request.completion_ids)
    own = limits.own_tokens.get(request.weights)
    max_length = limits.max_length if own is None else own.max_length
    if num_tokens > max_length:
        raise TextTooLongError(num_tokens=num_tokens, max_length=max_length)
    token_ids = (*request.prompt_ids, *request.completion_ids)
    _check_tokens(token_ids, "The text", limits.vocab_size_of(request.weights))


def _check_weights(name: str, limits: Limits) -> None:
    if name not in limits.weights:
        raise UnknownWeightsError(weights=name, names=", ".join(limits.weights))


def _check_tokens(token_ids: Sequence[int], where: str, vocab_size: int) -> None:
    for token_id in (min(token_ids), max(token_ids)):
        if not 0 <= token_id < vocab_size:
            raise TokenOutOfRangeError(where=where, token_id=token_id, largest=vocab_size - 1)
