"""What is wrong with an item for the model that is to write it: for submission and for readdressing alike. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from api.http.errors import LineError, PolicyRequiredError
from api.jobs.sampling_schemas import sampling_problem
from api.submissions.item_source import Place
from api.submissions.model_limits import ModelLimits
from db.queries.models import RegisteredModel
from domain.json_values import JsonObject
from domain.preferences import METHODS_WITH_POLICY, EffectivePreference
from domain.sampling import Sampling

SETTINGS = frozenset({"max_tokens", "method", "logit_bias"})
"""What may be wrong by itself, and is then pointed at."""
PREFERENCES_REMEMBERED = 1024
MOST_BYTES_PER_CHARACTER = 12
"""Four in UTF-8, and three times that in the worst of normal forms (NFC)."""


@dataclass(frozen=True, slots=True)
class ResolvedItem:
    """What is to be written, everything resolved, and where it was asked for."""

    messages: list[JsonObject]
    preference: EffectivePreference
    sampling: Sampling
    place: Place
    text_pointer: str
    """Where, within the place, its text was written."""
    stated: frozenset[str] = SETTINGS
    """Which of `SETTINGS` the place states itself."""

    def error(self, code: str, message: str, setting: str) -> LineError:
        """A setting is wrong: at its own place, or at that of the item where the item does not state it."""
        return self.place.error(code, message, f"/{setting}" if setting in self.stated else "")


class ItemChecks:
    """The checks of one model."""

    def __init__(self, model: RegisteredModel, max_characters: int) -> None:
        self._model = model
        self._max_characters = max_characters
        self._limits = ModelLimits(model.name, model.description)
        self._found_right: Sampling | None = None  # most items of a job share one
        self._room: dict[str, int] = {}

    def is_surely_right(
        self, messages: list[JsonObject], preference_hash: str, preference: EffectivePreference, sampling: Sampling
    ) -> bool:
        """Whether the model can do this, seen at a glance; `errors` looks more closely at what is not.

        A single turn that is no longer than certain, with settings that were found right for an earlier item.
        """
        if sampling is not self._found_right or len(messages) != 1:
            return False
        room = self._room.get(preference_hash)
        if room is None:
            if len(self._room) >= PREFERENCES_REMEMBERED:
                self._room.clear()
            room = self._room[preference_hash] = self._room_for(preference, sampling)
        text = str(messages[0]["content"])
        return len(text) * (1 if text.isascii() else MOST_BYTES_PER_CHARACTER) <= room

    def _room_for(self, preference: EffectivePreference, sampling: Sampling) -> int:
        if preference.method not in self._model.description.methods:
            return 0
        num_bytes = self._limits.num_bytes_within(preference, sampling)
        return self._max_characters if num_bytes is None else min(num_bytes, self._max_characters)

    def errors(self, item: ResolvedItem) -> list[LineError]:
        """Everything that this model cannot do for the item."""
        return [*self._length_errors(item), *self._method_errors(item), *self._sampling_errors(item)]

    def _length_errors(self, item: ResolvedItem) -> Iterator[LineError]:
        num_characters = sum(len(str(turn["content"])) for turn in item.messages)
        if num_characters > self._max_characters:
            message = f"The text has {num_characters} characters; at most {self._max_characters} are allowed."
            yield item.place.error("prompt_too_long", message, item.text_pointer)
            return
        excess = self._limits.excess(item.messages, item.preference, item.sampling)
        if excess is None:
            return
        if excess.is_the_prompts:
            yield item.place.error(excess.code, excess.message, item.text_pointer)
        else:
            yield item.error(excess.code, excess.message, "max_tokens")

    def _method_errors(self, item: ResolvedItem) -> Iterator[LineError]:
        method, model = item.preference.method, self._model
        if method in model.description.methods:
            return
        if method in METHODS_WITH_POLICY:
            message = f"`{method}` needs a policy, and `{model.name}` has none. {PolicyRequiredError.__doc__}"
            yield item.error(PolicyRequiredError.code, message, "method")
            return
        known = ", ".join(f"`{known}`" for known in model.description.methods)
        message = f"`{model.name}` cannot be steered by `{method}`; its methods are {known}."
        yield item.error("method_unavailable", message, "method")

    def _sampling_errors(self, item: ResolvedItem) -> Iterator[LineError]:
        if item.sampling is self._found_right:
            return
        problem = sampling_problem(item.sampling)
        if problem is not None:
            yield item.place.error("sampling", problem)
        foreign = self._limits.foreign_token(token_id for token_id, _ in item.sampling.logit_bias)
        if foreign is not None:
            yield item.error("logit_bias_out_of_range", foreign, "logit_bias")
        if problem is foreign is None:
            self._found_right = item.sampling
            self._room.clear()
