"""From candidates to items with everything resolved, or to the reasons why not. Reads profiles; writes nothing."""

import secrets
import uuid
from collections.abc import Iterator

from pydantic_core import to_json
from sqlalchemy.orm import Session

from api.jobs.schemas import Options, Overrides
from api.settings import Settings
from api.submissions.guidance import Guidance, ModelDefaults
from api.submissions.inspection import Inspection
from api.submissions.item_checks import SETTINGS, ItemChecks, ResolvedItem
from api.submissions.item_source import Candidate, ItemSource, ReadOptions
from db.queries.items import NewItem
from db.queries.jobs import Facts
from db.queries.models import RegisteredModel
from domain.holdouts import MAX_SEED, Holdout
from domain.preferences import EffectivePreference, Method
from domain.sampling import Sampling

NOTHING: frozenset[str] = frozenset()
UNGUIDED = EffectivePreference(Method.NONE, 0.0, ())


class Planner:
    """Resolves the items of one submission, for the model that will decode them; then it knows the job's facts."""

    def __init__(self, settings: Settings, tenant_id: uuid.UUID, source: ItemSource, model: RegisteredModel) -> None:
        self._settings = settings
        self._tenant_id = tenant_id
        self._source = source
        self._checks = ItemChecks(model, settings.max_prompt_characters)
        head = source.head
        self._guidance = Guidance(ModelDefaults.of(model.description), head.options.defaults, _hidden(head))
        self.inspection = Inspection(settings.max_items)
        self._holdout = drawn_holdout(head.options)
        self._num_holdout = 0

    @property
    def facts(self) -> Facts:
        """What is to be stored of the job besides its items, once they were resolved."""
        audience = self.inspection.audience
        return Facts(
            name=self._source.head.options.name,
            holdout=self._holdout,
            num_holdout=self._num_holdout,
            num_skipped=audience.num_skipped if audience else 0,
        )

    def items(self, session: Session) -> Iterator[tuple[NewItem, EffectivePreference]]:
        """The items in order, each with its preference. After the last, raises all that was wrong with the job."""
        inspection = self.inspection
        inspection.add(*self._source.head.errors)
        position = 0
        for candidate in self._source.candidates(session, self._tenant_id, inspection):
            preference_hash, preference = self._preference(candidate)
            sampling, sampling_text = self._guidance.sampling_and_text(candidate.own, position)
            if not self._checks.is_surely_right(candidate.messages, preference_hash, preference, sampling):
                errors = self._checks.errors(_resolved(candidate, preference, sampling))
                if errors:
                    inspection.add(*errors)
                    continue
            profile, messages = candidate.profile, to_json(candidate.messages).decode()
            named = (candidate.custom_id, profile.user_id, profile.version)
            yield NewItem(position, *named, preference_hash, messages, sampling_text), preference
            position += 1
        inspection.conclude()

    def _preference(self, candidate: Candidate) -> tuple[str, EffectivePreference]:
        """What steers the item: nothing where its user is held out."""
        if self._holdout is not None and self._holdout.holds_out(candidate.profile.user_id):
            self._num_holdout += 1
            return UNGUIDED.hash, UNGUIDED
        return self._guidance.preference(candidate.own, candidate.profile)


def drawn_holdout(options: Options) -> Holdout | None:
    """The hold-out that the options ask for, by their own seed or by one that is drawn now."""
    if options.holdout is None:
        return None
    seed = secrets.randbelow(MAX_SEED + 1) if options.holdout_seed is None else options.holdout_seed
    return Holdout(options.holdout, seed)


def _hidden(head: ReadOptions) -> Sampling:
    """The sampling settings that the server sets itself and no client can state."""
    return Sampling(listener=head.listener, token_rewards=head.token_rewards, given=head.given)


def _stated(own: Overrides) -> frozenset[str]:
    if SETTINGS.isdisjoint(own.model_fields_set):
        return NOTHING
    return frozenset(setting for setting in SETTINGS if getattr(own, setting) is not None)


def _resolved(candidate: Candidate, preference: EffectivePreference, sampling: Sampling) -> ResolvedItem:
    return ResolvedItem(
        candidate.messages,
        preference,
        sampling,
        candidate.place,
        candidate.text_pointer,
        stated=_stated(candidate.own),
    )
