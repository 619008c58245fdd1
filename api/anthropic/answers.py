"""What a request came to, as Anthropic writes it: a message, or why there is none."""

import uuid
from dataclasses import dataclass

from api.anthropic.failures import error_object
from api.anthropic.ids import message_name
from api.openai.answers import THEIR_FAULTS
from db.queries.cancelling import CODES
from db.queries.results import ResultRow
from domain.json_values import JsonObject
from domain.states import ItemState, JobState

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}
BATCH, STANDARD = "batch", "standard"
"""Service tiers."""


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """The messages of one batch, or of one request that is answered at once."""

    origin: uuid.UUID
    """The batch or the job."""
    model: str
    service_tier: str = BATCH

    def line(self, row: ResultRow) -> JsonObject:
        """One line of a batch's results."""
        return {"custom_id": row.custom_id, "result": self._result(row)}

    def message(self, row: ResultRow) -> JsonObject:
        """The answer of a request that has one."""
        return {
            "id": message_name(self.origin, row.position),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [{"type": "text", "text": row.text, "citations": None}],
            **stop_of(row),
            "usage": usage_of(row.num_prompt_tokens or 0, row.num_completion_tokens or 0, self.service_tier),
            "padserve": guidance_of(row),
        }

    def _result(self, row: ResultRow) -> JsonObject:
        if row.state is ItemState.SUCCEEDED:
            return {"type": "succeeded", "message": self.message(row)}
        if row.state is ItemState.CANCELLED:
            return {"type": "canceled"}
        if row.error_code == CODES[JobState.EXPIRED]:
            return {"type": "expired"}
        kind = "invalid_request_error" if is_theirs(row) else "api_error"
        error = error_object(kind, row.error_message, {"error_code": row.error_code})
        return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


def usage_of(num_prompt: int, num_completion: int, service_tier: str) -> JsonObject:
    """How many tokens were read and written; none of them from a cache that anybody could pay less for."""
    return {
        "input_tokens": num_prompt,
        "output_tokens": num_completion,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "service_tier": service_tier,
    }


def is_theirs(row: ResultRow) -> bool:
    """Whether it failed by the request and not by the service: sending it again changes nothing."""
    return row.error_code in THEIR_FAULTS


def stop_of(row: ResultRow) -> JsonObject:
    """Why a text ends where it does."""
    if row.stop_text is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": row.stop_text}
    return {"stop_reason": STOP_REASONS.get(row.finish_reason or "", "end_turn"), "stop_sequence": None}


def guidance_of(row: ResultRow) -> JsonObject:
    """What guided the answer, and what that did: padserve's own."""
    return {
        "user_id": row.user_id or None,
        "profile_version": row.profile_version or None,
        "preference_hash": row.preference_hash,
        "reward": row.reward,
        "kl": row.kl,
        **({} if row.rewards is None else {"rewards": row.rewards}),
    }
