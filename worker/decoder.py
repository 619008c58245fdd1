"""The real decoder: text on the outside, token ids on the inside. Lives in the engine's process."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from db.preferences import EffectivePreference
from db.queries.claims import ClaimedItem, Outcome
from db.queries.feedback import Pair
from db.sampling import Sampling
from worker.engine import (
    Completion,
    Engine,
    Failure,
    ModelError,
    Request,
    RequestError,
    Score,
    ScoreRequest,
    load_engine,
)
from worker.formats import INSTRUCTION, PAD, SYSTEM, Format, Message, with_principles
from worker.methods import streams_of
from worker.prompts import PromptError, encode, shows_system
from worker.protocol import DecoderUnavailableError, Features
from worker.settings import WorkerSettings
from worker.stops import StopTexts, text_before


@dataclass(frozen=True, slots=True)
class _Decoding:
    """What is remembered of an item while its tokens are being chosen."""

    item: ClaimedItem
    stops: tuple[str, ...]


class TextDecoder:
    """Turns claimed items into engine requests and completions into outcomes."""

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerBase, format: Format) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._format = format
        self._encode = partial(encode, tokenizer)
        self._decodings: dict[int, _Decoding] = {}

    @property
    def num_slots(self) -> int:
        """Items decoded at once."""
        return self._engine.num_slots

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._decodings)

    def add(self, item: ClaimedItem) -> Outcome | None:
        """Hand an item to the engine; the reason at once where the engine cannot take it."""
        sampling = Sampling.from_body(item.sampling)
        try:
            self._engine.add(self._request(item, sampling))
        except RequestError as error:
            return Outcome(item.item_id, item.attempt, error_code=error.code, error_message=str(error))
        except PromptError as error:
            return Outcome(item.item_id, item.attempt, error_code="prompt_not_accepted", error_message=str(error))
        self._decodings[item.item_id] = _Decoding(item, sampling.stop)
        return None

    def cancel(self, item_id: int) -> None:
        """Forget an item."""
        if self._decodings.pop(item_id, None) is not None:
            self._engine.cancel(item_id)

    def step(self) -> Sequence[Outcome]:
        """One step of the engine."""
        return list(self._outcomes(self._engine.step()))

    def compare(
        self, pairs: Sequence[Pair], principles: Sequence[str], on_progress: Callable[[], None] = lambda: None
    ) -> list[Features | None]:
        """How much more each principle speaks for the chosen text than for the rejected one.

        In each, `sum_t log pi_policy(principle) - log pi_base(plain)`, as `mixture` weighs them in decoding.
        """
        completions = {text: self._completion(text) for pair in pairs for text in (pair.chosen, pair.rejected)}
        requests = [
            ScoreRequest(request_id=0, weights=weights, prompt_ids=prompt, completion_ids=completions[text])
            for pair in pairs
            for weights, prompt in self._scored_streams(pair, principles)
            for text in (pair.chosen, pair.rejected)
        ]
        sums = [
            math.fsum(score.log_probabilities) if isinstance(score, Score) else None
            for score in self._engine.score(requests, on_progress)
        ]
        size = 2 * (1 + len(principles))
        return [_features(sums[start : start + size]) for start in range(0, len(sums), size)]

    def _scored_streams(self, pair: Pair, principles: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
        """Weights and prompt ids: the base without principles, then the policy with each."""
        messages = cast("list[Message]", pair.messages)
        # An empty prompt is refused by the engine, and the pair is left out.
        unscorable: list[tuple[str, tuple[int, ...]]] = [("base", ())] * (1 + len(principles))
        try:
            plain = self._encode(messages)
            if len(plain) >= self._engine.max_length:
                return unscorable  # at once: of a text of megabytes, each encoding takes seconds
            guided = [
                ("policy", self._encode(with_principles(messages, [principle], self._format)))
                for principle in principles
            ]
        except PromptError:
            return unscorable
        return [("base", plain), *guided]

    def _completion(self, text: str) -> tuple[int, ...]:
        """As the model would have written it: to its end of sequence, and text that stays text."""
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        end = self._tokenizer.eos_token_id
        return (*ids, *(() if end is None else (int(end),)))

    def _request(self, item: ClaimedItem, sampling: Sampling) -> Request:
        preference = EffectivePreference.from_body(item.preference)
        return Request(
            request_id=item.item_id,
            streams=streams_of(preference, cast("list[Message]", item.messages), self._encode, self._format),
            strength=preference.strength,
            k=min(sampling.k, self._engine.vocab_size),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            max_tokens=sampling.max_tokens,
            stop=StopTexts(self._tokenizer, sampling.stop) if sampling.stop else None,
            return_rewards=sampling.rewards,
        )

    def _outcomes(self, ended: Sequence[Completion | Failure]) -> Iterator[Outcome]:
        for end in ended:
            decoding = self._decodings.pop(int(end.request_id))
            item = decoding.item
            if isinstance(end, Failure):
                yield Outcome(item.item_id, item.attempt, error_code=end.code, error_message=end.message)
                continue
            written = str(self._tokenizer.decode(list(end.token_ids), skip_special_tokens=True))
            text = text_before(written, decoding.stops)
            yield Outcome(
                item.item_id,
                item.attempt,
                text=text.replace("\0", "\N{REPLACEMENT CHARACTER}"),  # PostgreSQL has no NUL
                finish_reason=end.finish_reason,
                num_prompt_tokens=end.num_prompt_tokens,
                num_completion_tokens=end.num_completion_tokens,
                reward=end.reward,
                rewards=end.rewards,
            )


def _features(sums: Sequence[float | None]) -> Features | None:
    """Of the log-likelihoods of chosen and rejected text in turn: under the base, then under each principle."""
    known = [value for value in sums if value is not None]
    if len(known) < len(sums):
        return None
    base, *policies = (known[index] - known[index + 1] for index in range(0, len(known), 2))
    return tuple(policy - base for policy in policies)


def load_decoder(settings: WorkerSettings) -> TextDecoder:
    """Load base, policy and tokenizer; raises `DecoderUnavailableError` with a line that says what to do."""
    if settings.model is None:
        raise DecoderUnavailableError("No model is configured: set PADSERVE_MODEL to a model directory or a hub id.")
    try:
        engine = load_engine(
            settings.model,
            settings.policy,
            device=settings.device,
            dtype=settings.dtype,
            num_slots=settings.num_slots,
            max_length=settings.max_length,
        )
        tokenizer = AutoTokenizer.from_pretrained(settings.model)
    except ModelError as error:
        raise DecoderUnavailableError(f"{error} (PADSERVE_MODEL, PADSERVE_POLICY)") from error
    except (OSError, ValueError) as error:
        message = f"No tokenizer can be read from {settings.model}: put the model's tokenizer files beside its weights."
        raise DecoderUnavailableError(message) from error
    return TextDecoder(engine, tokenizer, PAD if settings.policy else uncalibrated_format(tokenizer))


def uncalibrated_format(tokenizer: PreTrainedTokenizerBase) -> Format:
    """What a model is asked with when no card says how it was trained or calibrated."""
    return SYSTEM if shows_system(tokenizer) else INSTRUCTION
