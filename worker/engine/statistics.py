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
    """Of all streams, as they were run; prefixes that several requests share count once."""
    total_prompt_tokens_reused: int
    """Of all streams, which were not run, because a shared prefix held them."""
    cache_bytes_reserved: int
    cache_bytes_used: int
    """Bytes that the tokens of the rows in use take."""
    cache_tokens: int
    """Tokens of the rows in use, over all streams."""
