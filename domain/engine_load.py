"""How much an engine has to do at one moment, as its worker says it and pages show it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Slots, and memory of the key-value cache in bytes; an engine that has said nothing yet has none of either."""

    num_slots: int = 0
    num_active: int = 0
    """Texts in a slot."""
    num_waiting: int = 0
    """Texts inside the engine that wait for a slot."""
    cache_bytes_reserved: int = 0
    cache_bytes_used: int = 0
    cache_bytes_budget: int | None = None
    """What the cache may take; None bounds nothing, or is not said by a worker of an older version."""
