"""Precedence: what an item says itself, then its job's defaults, then the user's profile, then the system."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from api.job_schemas import Overrides
from db.base import JsonObject
from db.preferences import EffectivePreference, Method, Principle, effective_preference
from db.queries.profiles import PinnedProfile
from db.sampling import MAX_SEED, Sampling

DEFAULT_STRENGTH = 1.0
SAMPLING_FIELDS = ("k", "temperature", "top_p", "seed", "max_tokens", "rewards")
NUM_REMEMBERED = 1024


class Guidance:
    """Resolves the items of one job. Pure: the same item and profile give the same answer."""

    def __init__(self, default_method: Method, defaults: Overrides) -> None:
        self._default_method = default_method
        self._defaults = defaults
        self._sampling = replace(Sampling(), **_stated_sampling(defaults))
        # Most items of a job share a few preferences, and each costs a hash.
        self._canonical = lru_cache(NUM_REMEMBERED)(_canonical)

    def preference(self, own: Overrides, profile: PinnedProfile) -> tuple[str, EffectivePreference]:
        """What steers one item, after its hash."""
        defaults, body = self._defaults, profile.body
        principles = own.principles if own.principles is not None else defaults.principles
        strengths: tuple[Any, ...] = (own.strength, defaults.strength, body.get("strength"), DEFAULT_STRENGTH)
        return self._canonical(
            own.method or defaults.method or _method_of(body) or self._default_method,
            next(float(strength) for strength in strengths if strength is not None),
            _principles_of(body) if principles is None else tuple((each.text, each.weight) for each in principles),
        )

    def sampling(self, own: Overrides, position: int) -> Sampling:
        """How the tokens of one item are chosen.

        A seed that the item does not state is the job's seed plus the item's position: so items differ, and the same
        job submitted again gives the same texts.
        """
        stated = _stated_sampling(own)
        stated.setdefault("seed", (self._sampling.seed + position) % (MAX_SEED + 1))
        return replace(self._sampling, **stated)


def _canonical(
    method: Method, strength: float, principles: tuple[tuple[str, float], ...]
) -> tuple[str, EffectivePreference]:
    preference = effective_preference(method, strength, (Principle(*principle) for principle in principles))
    return preference.hash, preference


def _method_of(body: JsonObject) -> Method | None:
    method = body.get("method")
    return None if method is None else Method(str(method))


def _principles_of(body: JsonObject) -> tuple[tuple[str, float], ...]:
    principles: Any = body.get("principles", ())  # validated when the profile was written
    return tuple((principle["text"], principle["weight"]) for principle in principles)


def _stated_sampling(overrides: Overrides) -> dict[str, Any]:
    stated = {name: value for name in SAMPLING_FIELDS if (value := getattr(overrides, name)) is not None}
    if overrides.stop is not None:
        stated["stop"] = tuple(overrides.stop)
    return stated
