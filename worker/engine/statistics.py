"""What an engine has done and what it holds, in numbers for whoever watches it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """At one moment. What is called `total` grows from 0 as long as the engine lives."""

    num_slots: int
    num_active: int
    """Requests in a slot."""
    num_waiting: int
    total_steps: int
    total_slot_steps: int
    """Requests in a slot, added up over the steps: divided by steps and slots, how full the batches were."""
    total_prompt_tokens_read: int
    """Prompt tokens of all streams that were run; prefixes that several requests share count once."""
    total_prompt_tokens_reused: int
    """Prompt tokens of all streams that were not run, because a shared prefix held them."""
    cache_bytes_budget: int | None
    """Bytes that the caches may take; None bounds nothing."""
    cache_bytes_promised: int
    """Bytes that the requests in slots need at their longest, and the prefixes that are kept."""
    cache_bytes_reserved: int
    """Bytes that they take now: memory follows the tokens, and an idle engine has none."""
    cache_bytes_used: int
    """Bytes that the tokens of the rows in use take."""
    cache_tokens: int
    """Tokens of the rows in use, over all streams."""
