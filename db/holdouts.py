"""Hold-outs: which users of a job get the unguided text, so that what guidance brings can be measured. Pure."""

import hashlib
from dataclasses import dataclass

MAX_SEED = 2**31 - 1
_BITS = 64


@dataclass(frozen=True, slots=True)
class Holdout:
    """A share of the users, drawn by a seed: the same seed holds out the same users, whichever job they are in."""

    share: float
    seed: int

    def holds_out(self, user_id: str) -> bool:
        """Whether the user gets the unguided text."""
        drawn = hashlib.sha256(f"{self.seed}:{user_id}".encode()).digest()[: _BITS // 8]
        return int.from_bytes(drawn) < self.share * 2**_BITS
