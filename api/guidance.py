"""Precedence: what an item says itself, then its job's defaults, then the user's profile, then the system."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from api.job_schemas import Overrides
from api.settings import Settings
from db.preferences import EffectivePreference, Method, Principle, effective_preference
from db.queries.profiles import PinnedProfile
from db.sampling import MAX_SEED, Sampling

DEFAULT_STRENGTH = 1.0
NUM_REMEMBERED = 1024


class Guidance:
    """Resolves the items of one job. Pure: the same item and profile give the same answer."""

    def __init__(self, settings: Settings, defaults: Overrides) -> None:
        self._method = settings.default_method
        self._defaults = defaults
        self._sampling = replace(Sampling(), **_stated_sampling(defaults))
        # Most items of a job share a few preferences, and a preference costs a hash.
        self._hashed = lru_cache(NUM_REMEMBERED)(_hashed)

    def preference(self, own: Overrides, profile: PinnedProfile) -> tuple[str, EffectivePreference]:
        """What steers one item, and its hash."""
        defaults, body = self._defaults, profile.body
        stated = own.principles if own.principles is not None else defaults.principles
        return self._hashed(
            own.method or defaults.method or _profile_method(body) or self._method,
            _first(own.strength, defaults.strength, body.get("strength"), DEFAULT_STRENGTH),
            _profile_principles(body) if stated is None else tuple(principle.principle for principle in stated),
        )

    def sampling(self, own: Overrides, position: int) -> Sampling:
        """How the tokens of one item are chosen.

        A seed that the item does not state itself is the job's seed plus the item's position: items differ, and the
        same job submitted again gives the same texts.
        """
        stated = _stated_sampling(own)
        stated.setdefault("seed", (self._sampling.seed + position) % (MAX_SEED + 1))
        return replace(self._sampling, **stated)
