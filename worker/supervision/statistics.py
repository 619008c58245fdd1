"""What the worker is told of its engine: the numbers of `worker.engine.statistics`, without its imports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """An engine at one moment. What is called `total` grows from 0 as long as its process lives."""

    num_slots: int = 0
    num_active: int = 0
    """Texts in a slot: an item that wants several answers takes a slot for each."""
    num_waiting: int = 0
    total_steps: int = 0
    total_slot_steps: int = 0
    total_prompt_tokens_read: int = 0
    total_prompt_tokens_reused: int = 0
    cache_bytes_budget: int | None = None
    cache_bytes_promised: int = 0
    cache_bytes_reserved: int = 0
    cache_bytes_used: int = 0
    cache_tokens: int = 0
