"""Precedence: what an item says itself, then its job's defaults, then the user's profile, then the system."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from api.jobs.sampling_schemas import SamplingFields, stated_sampling
from api.jobs.schemas import Overrides
from db.queries.profiles import PinnedProfile
from domain.json_values import JsonObject
from domain.model_descriptions import ModelDescription
from domain.preferences import EffectivePreference, Method, Principle, effective_preference
from domain.sampling import MAX_SEED, Sampling

NUM_REMEMBERED = 1024
SAMPLING_FIELDS = frozenset(SamplingFields.model_fields)
UNSAID = Sampling()
GUIDANCE_FIELDS = frozenset(Overrides.model_fields) - SAMPLING_FIELDS


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """What the model's registration says where nobody else does."""

    method: Method
    strength: float
    max_kl: float | None
    max_tokens: int

    @classmethod
    def of(cls, model: ModelDescription) -> "ModelDefaults":
        """Half of a small model's length, so that a prompt fits beside an answer that nobody has bounded."""
        max_tokens = min(Sampling().max_tokens, max(1, model.max_length // 2))
        return cls(model.default_method, model.strength, model.max_kl, max_tokens)


class Guidance:
    """Resolves the items of one job. Pure: the same item and profile give the same answer."""

    def __init__(self, model: ModelDefaults, defaults: Overrides, hidden: Sampling = UNSAID) -> None:
        self._model = model
        self._defaults = defaults
        unsaid = replace(hidden, max_tokens=model.max_tokens)
        self._sampling = replace(unsaid, **stated_sampling(defaults))
        self._text_after_seed = _without_seed(self._sampling)
        # Most items of a job share a few preferences, and each costs a hash.
        self._canonical = lru_cache(NUM_REMEMBERED)(_canonical)
        self._of_profiles: dict[tuple[str, int], tuple[str, EffectivePreference]] = {}

    def preference(self, own: Overrides, profile: PinnedProfile) -> tuple[str, EffectivePreference]:
        """The hash of an item's effective preference, and the preference: its own overrides on its profile."""
        if not GUIDANCE_FIELDS.isdisjoint(own.model_fields_set):
            return self._preference(own, profile)
        name = (profile.user_id, profile.version)
        found = self._of_profiles.get(name)
        if found is None:
            if len(self._of_profiles) >= NUM_REMEMBERED:
                self._of_profiles.clear()
            found = self._of_profiles[name] = self._preference(own, profile)
        return found

    def _preference(self, own: Overrides, profile: PinnedProfile) -> tuple[str, EffectivePreference]:
        defaults, body = self._defaults, profile.body
        principles = own.principles if own.principles is not None else defaults.principles
        strengths: tuple[Any, ...] = (own.strength, defaults.strength, body.get("strength"), self._model.strength)
        budgets: tuple[Any, ...] = (own.max_kl, defaults.max_kl, body.get("max_kl"), self._model.max_kl)
        examples: Any = own.examples if own.examples is not None else defaults.examples
        return self._canonical(
            own.method or defaults.method or _method_of(body) or self._model.method,
            next(float(strength) for strength in strengths if strength is not None),
            _principles_of(body) if principles is None else tuple((each.text, each.weight) for each in principles),
            next((float(budget) for budget in budgets if budget is not None), None),
            _examples_of(body) if examples is None else tuple(examples),
        )

    def sampling(self, own: Overrides, position: int) -> Sampling:
        """How the tokens of one item are chosen.

        A seed that the item does not state is the job's seed plus the item's position: so items differ, and the same
        job submitted again gives the same texts.
        """
        stated = stated_sampling(own)
        stated.setdefault("seed", self._seed(position))
        return replace(self._sampling, **stated)

    def sampling_and_text(self, own: Overrides, position: int) -> tuple[Sampling, str]:
        """The same, and the JSON text that is stored.

        Of an item that states nothing, the job's own settings are given, whose seed is the first item's: nearly all
        items are such, and only the text need be theirs.
        """
        if SAMPLING_FIELDS.isdisjoint(own.model_fields_set):
            return self._sampling, f'{{"seed":{self._seed(position)},{self._text_after_seed}'
        sampling = self.sampling(own, position)
        return sampling, f'{{"seed":{sampling.seed},{_without_seed(sampling)}'

    def _seed(self, position: int) -> int:
        return (self._sampling.seed + position) % (MAX_SEED + 1)


def _without_seed(sampling: Sampling) -> str:
    """The JSON text of the settings, from behind its seed on."""
    body = sampling.body
    del body["seed"]
    return to_json(body).decode()[1:]


def _canonical(
    method: Method,
    strength: float,
    principles: tuple[tuple[str, float], ...],
    max_kl: float | None,
    examples: tuple[str, ...],
) -> tuple[str, EffectivePreference]:
    preference = effective_preference(
        method, strength, (Principle(*principle) for principle in principles), max_kl, examples
    )
    return preference.hash, preference


def _method_of(body: JsonObject) -> Method | None:
    method = body.get("method")
    return None if method is None else Method(str(method))


def _principles_of(body: JsonObject) -> tuple[tuple[str, float], ...]:
    principles: Any = body.get("principles", ())  # validated when the profile was written
    return tuple((principle["text"], principle["weight"]) for principle in principles)


def _examples_of(body: JsonObject) -> tuple[str, ...]:
    examples: Any = body.get("examples", ())  # validated when the profile was written
    return tuple(examples)
