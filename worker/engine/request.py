"""What goes into the engine and what comes out. Token ids only; no text, no tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class StopCondition(Protocol):
    """Decides after each token whether a completion ends; it must depend on the token ids alone."""

    def __call__(self, token_ids: Sequence[int], /) -> int | None:
        """How many of the tokens to keep when the completion must end here, else None."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """One (weights, prompt) pair, decoded in lockstep with the other streams of its request."""

    weights: str
    """"base", "policy" or "reference": a name given at load."""
    prompt: tuple[int, ...]
    reward: float = 0.0
    """This stream's coefficient in the token reward r_t."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to decode and how.

    The next token a is one of the k most likely of streams[0], by `log pi_0(a) + strength * r_t(a)`,
    where `r_t(a) = sum_s reward_s * log pi_s(a)`.
    """

    request_id: int | str
    streams: tuple[Stream, ...]
    """The first is the base stream: it proposes the candidates."""
    strength: float = 0.0
    """0 is the first stream alone, exactly."""
    max_kl: float | None = None
    """Budget, in nats: of the strength, each step uses the largest part that keeps KL(guided || base) over the
    candidates, at temperature 1, within it. 0 is the first stream alone, None sets no bound."""
    k: int | None = 10
    """None is the whole vocabulary, for requests where nothing guides."""
    temperature: float = 0.0
    """0 is greedy; otherwise the next token is sampled from softmax(score / temperature) over the candidates."""
    top_p: float = 1.0
    """Only the most likely candidates, at this temperature, that add up to this probability are sampled."""
    min_p: float = 0.0
    """Only candidates at least this many times as likely, at this temperature, as the most likely are sampled. As in
    Hugging Face, it and top_p both look at all candidates; in vLLM, top_p looks at what min_p has left."""
    seed: int = 0
    """Counted modulo 2**64. The same request with the same seed gives the same answer in any batch."""
    max_tokens: int = 128
    min_tokens: int = 0
    """Before so many, neither an end-of-sequence token nor the stop condition ends the completion."""
    stop: StopCondition | None = None
    return_rewards: bool = False
    # These change the base stream's logits before it proposes candidates, in this order. Token rewards do not see them.
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids and what is added to their logits."""
    repetition_penalty: float = 1.0
    """Divides the logits above 0, and multiplies those below, of tokens that the base stream's prompt or the completion
    holds."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time that the completion holds it."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of all tokens that the completion holds."""


class FinishReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    """An end-of-sequence token, or the request's stop condition."""
    LENGTH = "length"
    """max_tokens were generated, or the text has outgrown the context of a guide whose tokens are not the base's."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one request went, in seconds of the host; the three add up to its time in the engine."""

    queue_seconds: float
    """From `add` to the step that began to read its prompt."""
    prefill_seconds: float
    """From there to its first token. What had to be begun again for lack of memory is in here."""
    decode_seconds: float
    """From its first token to its last."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one request."""

    request_id: int | str
    token_ids: tuple[int, ...]
    """Without the end-of-sequence token, and cut where the stop condition said."""
    finish_reason: FinishReason
    num_prompt_tokens: int
    """Tokens of the base stream's prompt, as it was given."""
    num_completion_tokens: int
    """What was generated: the end-of-sequence token and the tokens that the stop condition cut are counted."""
    reward: float | None
    """Sum of the token rewards over all generated tokens, in nats; None where nothing guided."""
    rewards: tuple[float, ...] | None
    """The token rewards r_t, one per generated token, if asked for. The log-probabilities are taken over the k
    candidates only, not over the vocabulary, as in PAD's released code."""
    kl: float | None
    """Mean over the generated tokens of KL(guided || base) over the candidates, at temperature 1, in nats; None where
    nothing guided."""
    end_token_id: int | None = None
    """The end-of-sequence token that ended it; None where something else did."""
    timing: Timing | None = field(default=None, compare=False)
    """How long it took, which is no part of the answer; None of one that was not decoded by an engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """A completion that is given, not decoded: how likely do these weights hold each of its tokens?"""

    request_id: int | str
    weights: str = "base"
    """"base", "policy" or "reference": a name given at load."""
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """The answer to a ScoreRequest."""

    request_id: int | str
    log_probabilities: tuple[float, ...]
    """`log pi(y_t | prompt, y_<t)` of each completion token, in nats, over the whole vocabulary."""


@dataclass(frozen=True, slots=True)
class CandidateReward:
    """One of the k tokens among which a step decides. Log-probabilities are over these k alone, at temperature 1."""

    token_id: int
    base_log_probability: float
    reward: float
    """r_t(a), in nats."""
    guided_log_probability: float


@dataclass(frozen=True, slots=True)
class TokenReward:
    """One token of a completion, and the step that it stands for."""

    token_id: int
    log_probability: float
    """`log pi_base(a)` over the whole vocabulary, in nats."""
    reward: float
    """r_t of it, in nats; also of a token that was none of the candidates."""
    strength: float
    """What the step used: less than the request's where the budget cut it, 0 where nothing guides."""
    kl: float
    """KL(guided || base) over the candidates, in nats."""
    candidates: tuple[CandidateReward, ...]
    """The base's most likely tokens, the most likely first."""

    @property
    def is_changed(self) -> bool:
        """Whether guidance prefers another candidate than the base does."""
        guided = max(self.candidates, key=lambda candidate: candidate.guided_log_probability)
        return guided.guided_log_probability > self.candidates[0].guided_log_probability


@dataclass(frozen=True, slots=True)
class TokenRewards:
    """What guided each token of a completion."""

    request_id: int | str
    tokens: tuple[TokenReward, ...]
    log_likelihoods: tuple[float, ...]
    """`sum_t log pi_s(y_t)` over the whole vocabulary, of each stream that was run, the base stream first."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was refused or failed while it was decoded or scored; the others are not affected."""

    request_id: int | str
    code: str
    message: str
