"""The classes that a tenant puts its own jobs into. Pure data."""

from enum import StrEnum


class Priority(StrEnum):
    """How soon a job is wanted, beside the other jobs of the same tenant; it takes nothing from other tenants."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BULK = "bulk"

    @property
    def rank(self) -> int:
        """Place in the order of service: 0 is served first."""
        return tuple(Priority).index(self)
