"""The real decoder: text on the outside, token ids on the inside. Lives in the engine's process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import cast

import structlog
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.model_descriptions import ModelDescription
from domain.pairs import PreferredPair
from domain.preferences import METHODS_WITH_POLICY, EffectivePreference, Method
from domain.sampling import MAX_TOKENS_SHOWN, Sampling
from domain.text_pieces import Piece
from worker.engine import (
    Completion,
    Engine,
    Failure,
    ModelError,
    Request,
    RequestError,
    TokenRewards,
    load_engine,
    local_folder,
)
from worker.learning.comparison import Comparison
from worker.model.card import Card, CardError, find_card
from worker.model.description import describe
from worker.model.identity import model_digest
from worker.pipeline.answers import Answers, RequestId
from worker.settings import WorkerSettings
from worker.supervision.protocol import DecoderUnavailableError, Features
from worker.supervision.statistics import Statistics
from worker.texts.formats import INSTRUCTION, PAD, SYSTEM, Message
from worker.texts.growing import GrowingTexts
from worker.texts.insight import insight
from worker.texts.methods import BASE_GUIDE, MODEL_GUIDE, POLICY_GUIDE, REFERENCE_GUIDE, Guide, streams_of
from worker.texts.prompts import PromptError, encode, shows_system, trial_warnings
from worker.texts.stops import StopTexts

log = structlog.get_logger(__name__)

POLICY_STRENGTH = 1.0
UNCALIBRATED_STRENGTH = 2.0
UNCALIBRATED_MAX_KL = 0.2
"""Nats per token, beyond what asking does: with more, texts lose more of their topic and likelihood than they gain
(docs/decisions/0013)."""

SETTINGS_BY_CODE = {
    "cache_bytes_too_small": "PADSERVE_CACHE_BYTES",
    "device_unavailable": "PADSERVE_DEVICE",
    "devices_unavailable": "PADSERVE_DEVICE, PADSERVE_TENSOR_PARALLEL",
    "dtype_unknown": "PADSERVE_DTYPE",
    "max_length_invalid": "PADSERVE_MAX_LENGTH",
    "max_length_unknown": "PADSERVE_MAX_LENGTH",
}


class TextDecoder:
    """Turns claimed items into engine requests and completions into outcomes."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        card: Card,
        guide: Guide,
        description: ModelDescription,
        *,
        guide_tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        """`guide_tokenizer` is the policy's and reference's, where it is not the base's."""
        self.card = card
        self.description = description
        self._engine = engine
        self._tokenizer = tokenizer
        self._guide = guide
        self._guide_tokenizer = guide_tokenizer
        self._answers: dict[Attempt, Answers] = {}
        self._owners: dict[RequestId, Attempt] = {}
        self._growing: dict[Attempt, GrowingTexts] = {}
        """The growing texts of the items that somebody listens to, by attempt."""
        self._pieces: list[Piece] = []

    @property
    def num_slots(self) -> int:
        """Items decoded at once."""
        return self._engine.num_slots

    @property
    def statistics(self) -> Statistics:
        """What the engine has done and what it holds now."""
        return Statistics(**asdict(self._engine.statistics))

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._answers)

    def add(self, item: ClaimedItem) -> Outcome | None:
        """Hand an item to the engine; the reason at once where the engine cannot take it."""
        sampling = Sampling.from_body(item.sampling)
        answers = Answers(item, sampling, StopTexts(self._tokenizer, sampling.stop, sampling.min_tokens))
        try:
            if sampling.given is not None:
                return self._read(answers, sampling.given)
            for request in self._requests(answers):
                self._engine.add(request)
        except RequestError as error:
            return answers.failure(error.code, str(error))
        except PromptError as error:
            return answers.failure("prompt_not_accepted", str(error))
        self._answers[item.attempt_key] = answers
        self._owners.update(dict.fromkeys(answers.request_ids, item.attempt_key))
        if sampling.listener is not None:
            self._growing[item.attempt_key] = GrowingTexts(
                sampling.listener, item.attempt, answers.stops, answers.choices
            )
        return None

    def cancel(self, attempt: Attempt) -> None:
        """Take the attempt's requests out of the engine; nothing is said of it any more."""
        answers = self._answers.pop(attempt, None)
        self._growing.pop(attempt, None)
        if answers is None:
            return
        for request_id in answers.missing:
            self._owners.pop(request_id, None)  # the one that failed is gone already
            self._engine.cancel(request_id)

    def step(self) -> Sequence[Outcome]:
        """Run one step of the engine; the outcomes of items that ended with it."""
        outcomes = list(self._outcomes(self._engine.step()))
        for growing in self._growing.values():
            self._pieces += growing.grown(self._engine.token_ids)
        return outcomes

    def take_pieces(self) -> Sequence[Piece]:
        """What the last step has added to texts that somebody listens to."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def compare(
        self, pairs: Sequence[PreferredPair], principles: Sequence[str], on_progress: Callable[[], None] = lambda: None
    ) -> list[Features | None]:
        """How much more each principle speaks for the chosen text than for the rejected one."""
        tokenizer = self._guide_tokenizer or self._tokenizer
        comparison = Comparison(self._engine, tokenizer, partial(encode, tokenizer), self.card.format, self._guide)
        return comparison.features(pairs, principles, on_progress)

    def _requests(self, answers: Answers) -> list[Request]:
        preference = EffectivePreference.from_body(answers.item.preference)
        messages = cast("list[Message]", answers.item.messages)
        encode_turns = partial(encode, self._tokenizer, arguments=answers.sampling.template)
        streams = streams_of(
            preference,
            messages,
            encode_turns,
            self.card.format,
            self._guide,
            encode_for_guide=partial(encode, self._guide_tokenizer) if self._guide_tokenizer else None,
        )
        return answers.requests(streams, preference, self._engine.generation_defaults, self._engine.vocab_size)

    def _read(self, answers: Answers, given: str) -> Outcome:
        """What guides each token of a text that is given, as far as it fits, as if it had been written."""
        token_ids = self._tokenizer.encode(given, add_special_tokens=False, split_special_tokens=True)
        room = max(1, min(MAX_TOKENS_SHOWN, self._engine.room(self._requests(answers)[0].streams)))
        return self._with_token_rewards(answers, token_ids[:room], answers.read(given))

    def _with_token_rewards(self, answers: Answers, token_ids: Sequence[int], outcome: Outcome) -> Outcome:
        """The outcome with what guided each token of its text; a failure where that cannot be said."""
        request = self._requests(answers)[0]
        found: TokenRewards | Failure = TokenRewards(request.request_id, (), ())
        if token_ids:
            found = self._engine.token_rewards(request, token_ids)
        if isinstance(found, Failure):
            return answers.failure(found.code, found.message)
        preference = EffectivePreference.from_body(answers.item.preference)
        spell = partial(answers.stops.decoded, with_special=True)
        ends = self._engine.eos_token_ids
        return outcome._replace(
            token_rewards=insight(found, request, preference, self._guide, spell, end_token_ids=ends)
        )

    def _outcomes(self, ended: Sequence[Completion | Failure]) -> Iterator[Outcome]:
        for end in ended:
            attempt = self._owners.pop(end.request_id, None)
            if attempt is None:
                continue  # another answer to its item failed in this very step
            answers = self._answers[attempt]
            if isinstance(end, Failure):
                self.cancel(attempt)
                yield answers.failure(end.code, end.message)
                continue
            answers.completions[end.request_id] = end
            if attempt in self._growing:
                self._pieces += self._growing[attempt].ended(end)
            if not answers.missing:
                del self._answers[attempt]
                self._growing.pop(attempt, None)
                outcome = answers.outcome()
                if answers.sampling.token_rewards:
                    first = answers.first
                    last = () if first.end_token_id is None else (first.end_token_id,)
                    outcome = self._with_token_rewards(answers, (*first.token_ids, *last), outcome)
                yield outcome


def load_decoder(settings: WorkerSettings) -> TextDecoder:
    """Load base, policy, tokenizer and card; raises `DecoderUnavailableError` with a line that says what to do."""
    if settings.model is None:
        raise DecoderUnavailableError("No model is configured: set PADSERVE_MODEL to a model directory or a hub id.")
    if settings.policy and settings.guide:
        raise DecoderUnavailableError("A policy is its own guide: set PADSERVE_POLICY or PADSERVE_GUIDE, not both.")
    if settings.reference and not settings.policy:
        raise DecoderUnavailableError("A reference is what a policy is compared with: set PADSERVE_POLICY beside it.")
    try:
        card = find_card(settings.model, settings.policy, settings.card)
        engine = load_engine(
            settings.model,
            settings.policy or settings.guide,
            settings.reference,
            device=settings.device,
            dtype=settings.dtype,
            num_slots=settings.num_slots,
            max_length=settings.max_length,
            cache_bytes=settings.cache_bytes,
            tensor_parallel=settings.tensor_parallel,
        )
        tokenizer = AutoTokenizer.from_pretrained(local_folder(settings.model))
        guide_tokenizer = _guide_tokenizer(settings, engine)
    except CardError as error:
        raise DecoderUnavailableError(f"{error} (PADSERVE_CARD, or {settings.policy or settings.model})") from error
    except ModelError as error:
        raise DecoderUnavailableError(f"{error} ({_settings_at_fault(settings, error)})") from error
    except (OSError, ValueError) as error:
        message = f"No tokenizer can be read from {settings.model}: put the model's tokenizer files beside its weights."
        raise DecoderUnavailableError(message) from error
    _report(engine, tokenizer, *([guide_tokenizer] if guide_tokenizer else []))
    card = completed(card, tokenizer, has_policy=bool(settings.policy))
    if guide_tokenizer and card.format.role == "system" and not shows_system(guide_tokenizer):
        raise DecoderUnavailableError("The card's format writes a system turn, which the policy's chat template drops.")
    description = describe(
        tokenizer,
        card,
        digest=model_digest(
            settings.model, settings.policy, settings.card, guide=settings.guide, reference=settings.reference
        ),
        has_policy=settings.policy is not None,
        max_length=engine.max_length,
        vocab_size=engine.vocab_size,
    )
    return TextDecoder(engine, tokenizer, card, _guide_of(settings), description, guide_tokenizer=guide_tokenizer)


def _guide_tokenizer(settings: WorkerSettings, engine: Engine) -> PreTrainedTokenizerBase | None:
    """Of the policy and its reference, or of the guide, where their tokens are not the base's."""
    if not engine.foreign_weights:
        return None
    if settings.policy and not settings.reference:
        message = "The policy has another tokenizer than the model: set PADSERVE_REFERENCE to what it was trained on."
        raise DecoderUnavailableError(message)
    source = settings.reference or settings.guide
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(local_folder(source or ""))
    return tokenizer


def _settings_at_fault(settings: WorkerSettings, error: ModelError) -> str:
    """The names of the settings that the error is about: by its code, else by whose value stands in its message."""
    if name := SETTINGS_BY_CODE.get(error.code):
        return name
    if settings.tensor_parallel > 1 and error.code == "model_unsupported":
        return "PADSERVE_MODEL, PADSERVE_TENSOR_PARALLEL"
    given = {
        name: getattr(settings, name) for name in ("model", "policy", "reference", "guide") if getattr(settings, name)
    }
    named = [name for name, value in given.items() if repr(value) in str(error)]
    names = ", ".join(f"PADSERVE_{name.upper()}" for name in named or given)
    is_of_another = error.code == "adapter_unsupported" and not settings.reference
    return f"{names}; PADSERVE_REFERENCE, if it was trained on another model" if is_of_another else names


def completed(card: Card | None, tokenizer: PreTrainedTokenizerBase, *, has_policy: bool) -> Card:
    """The card with everything filled in; without one, what suits a model that nobody has calibrated.

    A policy without a card was trained as PAD's released ones were.
    """
    method = Method.PAD if has_policy else Method.CONTRAST
    if card is None:
        return Card(format=PAD, method=method, strength=POLICY_STRENGTH) if has_policy else _uncalibrated(tokenizer)
    if card.format.role == "system" and not shows_system(tokenizer):
        raise DecoderUnavailableError("The card's format writes a system turn, which the model's chat template drops.")
    if card.method in METHODS_WITH_POLICY and not has_policy:
        raise DecoderUnavailableError(f"The card's method, `{card.method}`, needs a policy: set PADSERVE_POLICY.")
    strength = POLICY_STRENGTH if card.strength is None else card.strength
    return card.model_copy(update={"method": card.method or method, "strength": strength})


def _uncalibrated(tokenizer: PreTrainedTokenizerBase) -> Card:
    """Guided by the system turn; asked only, behind the prompt, where the template has no such turn.

    What stands behind the prompt is repeated by one text in ten as soon as guidance favours it (decision 0013).
    """
    guided = shows_system(tokenizer)
    return Card(
        format=SYSTEM if guided else INSTRUCTION,
        method=Method.CONTRAST if guided else Method.PROMPT,
        strength=UNCALIBRATED_STRENGTH,
        max_kl=UNCALIBRATED_MAX_KL,
    )


def _guide_of(settings: WorkerSettings) -> Guide:
    if settings.policy:
        return REFERENCE_GUIDE if settings.reference else POLICY_GUIDE
    return MODEL_GUIDE if settings.guide else BASE_GUIDE


def _report(engine: Engine, *tokenizers: PreTrainedTokenizerBase) -> None:
    """Log what was found at load; raises `DecoderUnavailableError` where no prompt would be accepted."""
    try:
        warnings = [*engine.warnings, *(warning for each in tokenizers for warning in trial_warnings(each))]
    except PromptError as error:
        message = f"No prompt can be written for this model: {error} Repair its chat_template.jinja."
        raise DecoderUnavailableError(message) from error
    for warning in warnings:
        log.warning("model_warning", message=warning)
