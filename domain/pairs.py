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
        """The same for the pair the other way round: a user cannot have said both."""
        return digest([self.messages, *sorted((self.chosen, self.rejected))])
