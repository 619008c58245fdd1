"""Pairs of texts of which a user preferred one. Pure values."""

from dataclasses import dataclass

from domain.json_values import JsonObject
from domain.preferences import digest


@dataclass(frozen=True, slots=True)
class PreferredPair:
    """Two texts for one prompt; `chosen` is the one that was preferred."""

    messages: list[JsonObject]
    chosen: str
    rejected: str

    @property
    def digest(self) -> str:
        """SHA-256 that does not depend on which text was chosen: a user cannot have said both of two opposite pairs."""
        return digest([self.messages, *sorted((self.chosen, self.rejected))])
