"""From candidates to items with everything resolved, or to the reasons why not. Reads profiles; writes nothing."""

import uuid
from collections.abc import Iterator

from sqlalchemy.orm import Session

from api.errors import LineError, PolicyRequiredError
from api.guidance import Guidance, ModelDefaults
from api.inspection import Inspection
from api.item_source import Candidate, ItemSource
from api.model_limits import ModelLimits
from api.sampling_schemas import sampling_problem
from api.settings import Settings
from db.preferences import METHODS_WITH_POLICY, EffectivePreference
from db.queries.items import NewItem
from db.queries.models import RegisteredModel
from db.sampling import Sampling


class Planner:
    """Resolves the items of one submission, for the model that will decode them."""

    def __init__(self, settings: Settings, tenant_id: uuid.UUID, source: ItemSource, model: RegisteredModel) -> None:
        self._settings = settings
        self._tenant_id = tenant_id
        self._source = source
        self._model = model
        self._limits = ModelLimits(model.name, model.description)
        self._guidance = Guidance(ModelDefaults.of(model.description), source.head.options.defaults)

    def items(self, session: Session) -> Iterator[tuple[NewItem, EffectivePreference]]:
        """The items in order, each with its preference. After the last, raises all that was wrong with the job."""
        inspection = Inspection(self._settings.max_items)
        inspection.add(*self._source.head.errors)
        position = 0
        for candidate in self._source.candidates(session, self._tenant_id, inspection):
            preference_hash, preference = self._guidance.preference(candidate.own, candidate.profile)
            sampling = self._guidance.sampling(candidate.own, position)
            errors = [
                *self._length_errors(candidate, sampling),
                *self._method_errors(candidate, preference),
                *self._sampling_errors(candidate, sampling),
            ]
            inspection.add(*errors)
            if errors:
                continue
            yield self._item(candidate, position, preference_hash, sampling), preference
            position += 1
        inspection.conclude()

    def _item(self, candidate: Candidate, position: int, preference_hash: str, sampling: Sampling) -> NewItem:
        return NewItem(
            position=position,
            custom_id=candidate.custom_id,
            user_id=candidate.profile.user_id,
            profile_version=candidate.profile.version,
            preference_hash=preference_hash,
            messages=candidate.messages,
            sampling=sampling.body,
        )

    def _length_errors(self, candidate: Candidate, sampling: Sampling) -> Iterator[LineError]:
        num_characters = sum(len(str(turn["content"])) for turn in candidate.messages)
        largest = self._settings.max_prompt_characters
        if num_characters > largest:
            message = f"The text has {num_characters} characters; at most {largest} are allowed."
            yield candidate.place.error("prompt_too_long", message, candidate.text_pointer)
        elif (excess := self._limits.excess(candidate.messages, sampling.max_tokens)) is not None:
            own = "/max_tokens" if candidate.own.max_tokens is not None else ""
            pointer = candidate.text_pointer if excess.is_the_prompts else own
            yield candidate.place.error(excess.code, excess.message, pointer)

    def _method_errors(self, candidate: Candidate, preference: EffectivePreference) -> Iterator[LineError]:
        method, model = preference.method, self._model
        if method in model.description.methods:
            return
        own = "/method" if candidate.own.method is not None else ""
        if method in METHODS_WITH_POLICY:
            message = f"`{method}` needs a policy, and `{model.name}` has none. {PolicyRequiredError.__doc__}"
            yield candidate.place.error(PolicyRequiredError.code, message, own)
            return
        known = ", ".join(f"`{known}`" for known in model.description.methods)
        message = f"`{model.name}` cannot be steered by `{method}`; its methods are {known}."
        yield candidate.place.error("method_unavailable", message, own)

    def _sampling_errors(self, candidate: Candidate, sampling: Sampling) -> Iterator[LineError]:
        problem = sampling_problem(sampling, self._model.description.vocab_size)
        if problem is not None:
            yield candidate.place.error("sampling", problem)
