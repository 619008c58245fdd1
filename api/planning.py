"""From candidates to items with everything resolved, or to the reasons why not. Reads profiles; writes nothing."""

import uuid
from collections.abc import Iterator

from sqlalchemy.orm import Session

from api.errors import LineError, PolicyRequiredError
from api.guidance import Guidance
from api.inspection import Inspection
from api.item_source import Candidate, ItemSource
from api.settings import Settings
from db.preferences import EffectivePreference
from db.queries.items import NewItem


class Planner:
    """Resolves the items of one submission."""

    def __init__(self, settings: Settings, tenant_id: uuid.UUID, source: ItemSource) -> None:
        self._settings = settings
        self._tenant_id = tenant_id
        self._source = source
        self._guidance = Guidance(settings.default_method, source.head.options.defaults)
        self._model = settings.model_name
        self._methods = frozenset(settings.methods)

    def items(self, session: Session) -> Iterator[tuple[NewItem, EffectivePreference]]:
        """The items in order, each with its preference. After the last, raises all that was wrong with the job."""
        inspection = Inspection(self._settings.max_items)
        inspection.add(*self._source.head.errors, *self._model_errors())
        position = 0
        for candidate in self._source.candidates(session, self._tenant_id, inspection):
            preference_hash, preference = self._guidance.preference(candidate.own, candidate.profile)
            errors = [*self._length_errors(candidate), *self._policy_errors(candidate, preference)]
            inspection.add(*errors)
            if errors:
                continue
            yield self._item(candidate, position, preference_hash), preference
            position += 1
        inspection.conclude()

    def _item(self, candidate: Candidate, position: int, preference_hash: str) -> NewItem:
        return NewItem(
            position=position,
            custom_id=candidate.custom_id,
            user_id=candidate.profile.user_id,
            profile_version=candidate.profile.version,
            preference_hash=preference_hash,
            messages=candidate.messages,
            sampling=self._guidance.sampling(candidate.own, position).body,
        )

    def _model_errors(self) -> Iterator[LineError]:
        asked = self._source.head.options.model
        if asked is not None and asked != self._model:
            message = f"This server decodes with {self._model}: name that, or leave `model` out."
            yield self._source.head.place.error("unknown_model", message, "/model")

    def _length_errors(self, candidate: Candidate) -> Iterator[LineError]:
        num_characters = sum(len(str(turn["content"])) for turn in candidate.messages)
        largest = self._settings.max_prompt_characters
        if num_characters > largest:
            message = f"The text has {num_characters} characters; at most {largest} are allowed."
            yield candidate.place.error("prompt_too_long", message, candidate.text_pointer)

    def _policy_errors(self, candidate: Candidate, preference: EffectivePreference) -> Iterator[LineError]:
        if preference.method not in self._methods:
            own = "/method" if candidate.own.method is not None else ""
            message = f"`{preference.method}` needs a policy. {PolicyRequiredError.__doc__}"
            yield candidate.place.error(PolicyRequiredError.code, message, own)
