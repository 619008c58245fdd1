"""The answers to one item: what is asked of the engine for it, and the outcome that its completions make. Decides."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from domain.attempts import ClaimedItem, EngineTiming, Outcome
from domain.preferences import EffectivePreference
from domain.sampling import GUIDED_CANDIDATES, WHOLE_VOCABULARY, Sampling
from worker.engine import Completion, GenerationDefaults, Request, Stream
from worker.texts.stops import StopTexts

RequestId = int | str


@dataclass(slots=True)
class Answers:
    """An item while it is decoded. Its n answers are n requests, or one where all would be the same text."""

    item: ClaimedItem
    sampling: Sampling
    stops: StopTexts
    completions: dict[RequestId, Completion] = field(default_factory=dict)

    @property
    def request_ids(self) -> list[RequestId]:
        """One for each answer that is decoded."""
        num_decoded = 1 if self.sampling.temperature == 0 else self.sampling.n
        return [f"{self.item.item_id}.{self.item.attempt}/{number}" for number in range(num_decoded)]

    @property
    def choices(self) -> dict[RequestId, range]:
        """Which of the item's answers each request makes: one alone makes all of them."""
        if len(self.request_ids) < self.sampling.n:
            return {self.request_ids[0]: range(self.sampling.n)}
        return {request_id: range(number, number + 1) for number, request_id in enumerate(self.request_ids)}

    @property
    def missing(self) -> list[RequestId]:
        """The requests of the item whose completions are still to come."""
        return [request_id for request_id in self.request_ids if request_id not in self.completions]

    @property
    def first(self) -> Completion:
        """What became of the first answer, once it has ended."""
        return self.completions[self.request_ids[0]]

    def read(self, given: str) -> Outcome:
        """What becomes of an item whose text is given: nothing was written."""
        return Outcome(self.item.item_id, self.item.attempt, text=given, finish_reason="given", num_completion_tokens=0)

    def requests(
        self,
        streams: tuple[Stream, ...],
        preference: EffectivePreference,
        defaults: GenerationDefaults,
        vocab_size: int,
    ) -> list[Request]:
        """What the engine is asked; the seed of the i-th answer is the item's seed + i."""
        sampling = self.sampling
        first = Request(
            request_id=self.request_ids[0],
            streams=streams,
            strength=preference.strength,
            max_kl=preference.max_kl,
            k=num_candidates(sampling, streams, defaults, vocab_size),
            temperature=sampling.temperature,
            top_p=_first(sampling.top_p, defaults.top_p, 1.0),
            min_p=_first(sampling.min_p, defaults.min_p, 0.0),
            repetition_penalty=_first(sampling.repetition_penalty, defaults.repetition_penalty, 1.0),
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            logit_bias=sampling.logit_bias,
            seed=sampling.seed,
            max_tokens=sampling.max_tokens,
            min_tokens=sampling.min_tokens,
            stop=self.stops if sampling.stop else None,
            return_rewards=sampling.rewards,
        )
        return [
            replace(first, request_id=request_id, seed=sampling.seed + number)
            for number, request_id in enumerate(self.request_ids)
        ]

    def outcome(self) -> Outcome:
        """What becomes of the item once nothing is missing. The first answer is its text; tokens are counted of all."""
        completions = [self.completions[request_id] for request_id in self.request_ids]
        choices = [self._choice(completion) for completion in completions]
        first = completions[0]
        shown = choices * self.sampling.n if len(choices) < self.sampling.n else choices
        return Outcome(
            self.item.item_id,
            self.item.attempt,
            text=str(choices[0]["text"]),
            finish_reason=first.finish_reason.value,  # a plain text: to read the engine's own type is to import torch
            num_prompt_tokens=first.num_prompt_tokens,
            num_completion_tokens=sum(completion.num_completion_tokens for completion in completions),
            reward=first.reward,
            rewards=first.rewards,
            kl=first.kl,
            choices=tuple(shown) if self.sampling.n > 1 else None,
            stop_text=self.stops.stop_of(first.token_ids) if self.sampling.stop else None,
            timing=_longest(completions),
        )

    def failure(self, code: str, message: str) -> Outcome:
        """The outcome of an item that has no text, with the reason."""
        return Outcome(self.item.item_id, self.item.attempt, error_code=code, error_message=message)

    def _choice(self, completion: Completion) -> dict[str, object]:
        # PostgreSQL has no NUL.
        text = self.stops.text(completion.token_ids).replace("\0", "\N{REPLACEMENT CHARACTER}")
        return {
            "text": text,
            "finish_reason": completion.finish_reason.value,
            "num_completion_tokens": completion.num_completion_tokens,
            "reward": completion.reward,
            "kl": completion.kl,
        }


def _longest(completions: Sequence[Completion]) -> EngineTiming | None:
    """As values of the domain: whoever reads an outcome has not imported the engine."""
    timings = [
        EngineTiming(timing.queue_seconds, timing.prefill_seconds, timing.decode_seconds)
        for completion in completions
        if (timing := completion.timing) is not None
    ]
    return max(timings, key=lambda timing: timing.seconds, default=None)


def num_candidates(
    sampling: Sampling, streams: Sequence[Stream], defaults: GenerationDefaults, vocab_size: int
) -> int | None:
    """Of each token; None is the whole vocabulary, which only an unguided item has."""
    is_guided = len(streams) > 1
    asked = sampling.k
    if asked == WHOLE_VOCABULARY:
        asked = GUIDED_CANDIDATES if is_guided else None
    elif asked is None:
        asked = GUIDED_CANDIDATES if is_guided else defaults.top_k
    return None if asked is None else min(asked, vocab_size)


def _first(stated: float | None, of_model: float | None, otherwise: float) -> float:
    return next(value for value in (stated, of_model, otherwise) if value is not None)
