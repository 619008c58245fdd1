"""Hold-outs: which users of a job get the unguided text, so that what guidance brings can be measured. Pure."""

import hashlib
from dataclasses import dataclass

MAX_SEED = 2**31 - 1
_NUM_BYTES = 8
_NUM_DRAWS = float(2 ** (8 * _NUM_BYTES))


@dataclass(frozen=True, slots=True)
class Holdout:
    """A share of the users, drawn by a seed: the same seed holds out the same users, whichever job they are in."""

    share: float
    seed: int

    def holds_out(self, user_id: str) -> bool:
        """Whether the user gets the unguided text."""
        drawn = hashlib.sha256(f"{self.seed}:{user_id}".encode()).digest()[:_NUM_BYTES]
        return int.from_bytes(drawn) < self.share * _NUM_DRAWS
