"""What a line of a batch came to, as OpenAI writes it: an answer in the output file, or a reason in the error file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from api.http.errors import ApiError
from api.openai.generation import Endpoint
from db.queries.results import ResultRow
from domain.json_values import JsonObject
from domain.states import ItemState

NOT_EXECUTED = {
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
}
"""By the code under which the job has ended an item (`db.queries.cancelling`)."""
THEIR_FAULTS = frozenset(
    {
        *("prompt_too_long", "guide_prompt_too_long", "prompt_not_accepted"),
        *("empty_prompt", "empty_text", "text_too_long", "text_outgrows_guide"),
    }
)
"""Error codes that are the request's fault and not the service's: sending it again changes nothing."""
BAD_REQUEST, SERVER_ERROR, OK = 400, 500, 200


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The lines of one batch."""

    batch_id: UUID
    endpoint: Endpoint
    model: str

    def line(self, row: ResultRow) -> JsonObject:
        """One line of a batch's output or error file."""
        request_id = f"batch_req_{self.batch_id.hex}_{row.position}"
        response, error = None, None
        if row.state is ItemState.SUCCEEDED:
            response = _response(request_id, OK, self._body(row))
        elif row.error_code in NOT_EXECUTED:
            code, message = NOT_EXECUTED[row.error_code]
            error = {"code": code, "message": message}
        else:
            is_theirs = row.error_code in THEIR_FAULTS
            body: JsonObject = {
                "error": {
                    "message": row.error_message,
                    "type": "invalid_request_error" if is_theirs else "server_error",
                    "param": None,
                    "code": row.error_code,
                }
            }
            response = _response(request_id, BAD_REQUEST if is_theirs else SERVER_ERROR, body)
        return {"id": request_id, "custom_id": row.custom_id, "response": response, "error": error}

    def _body(self, row: ResultRow) -> JsonObject:
        named = f"{self.batch_id.hex}_{row.position}"
        shared = {"model": self.model, "padserve": _ours(row)}
        return BODIES[self.endpoint](row, named, int(row.finished_at.timestamp())) | shared


def _response(request_id: str, status_code: int, body: JsonObject) -> JsonObject:
    return {"status_code": status_code, "request_id": request_id, "body": body}


def _ours(row: ResultRow) -> JsonObject:
    """What guided the answer, and what that did: padserve's own."""
    return {
        "user_id": row.user_id or None,
        "profile_version": row.profile_version or None,
        "preference_hash": row.preference_hash,
        "reward": row.reward,
        "kl": row.kl,
        **({} if row.rewards is None else {"rewards": row.rewards}),
    }


def _choices(row: ResultRow) -> list[Mapping[str, Any]]:
    """All answers; of one that stands alone, what the row says."""
    return list(row.choices or [{"text": row.text, "finish_reason": row.finish_reason}])


def _usage(row: ResultRow) -> dict[str, int]:
    num_prompt, num_completion = row.num_prompt_tokens or 0, row.num_completion_tokens or 0
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_completion,
        "total_tokens": num_prompt + num_completion,
    }


def _chat(row: ResultRow, named: str, created: int) -> JsonObject:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": choice["text"], "refusal": None},
            "logprobs": None,
            "finish_reason": choice["finish_reason"],
        }
        for index, choice in enumerate(_choices(row))
    ]
    return {
        "id": f"chatcmpl-{named}",
        "object": "chat.completion",
        "created": created,
        "choices": choices,
        "usage": _usage(row),
        "system_fingerprint": None,
    }


def _completion(row: ResultRow, named: str, created: int) -> JsonObject:
    choices = [
        {"index": index, "text": choice["text"], "logprobs": None, "finish_reason": choice["finish_reason"]}
        for index, choice in enumerate(_choices(row))
    ]
    return {
        "id": f"cmpl-{named}",
        "object": "text_completion",
        "created": created,
        "choices": choices,
        "usage": _usage(row),
    }


def _as_response(row: ResultRow, named: str, created: int) -> JsonObject:
    is_whole, usage = row.finish_reason == "stop", _usage(row)
    status = "completed" if is_whole else "incomplete"
    return response_body(named, created, status) | {
        "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
        "output": [output_message(named, status, [output_text(row.text or "")])],
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }


def response_body(named: str, created: int, status: str) -> JsonObject:
    """A response in which nothing is said."""
    return {
        "id": f"resp_{named}",
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "output": [],
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
        "metadata": {},
        "usage": None,
    }


def output_message(named: str, status: str, content: list[JsonObject]) -> JsonObject:
    """The one message of a response."""
    return {"id": f"msg_{named}", "type": "message", "role": "assistant", "status": status, "content": content}


def output_text(text: str) -> JsonObject:
    """The one part of that message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def error_body(error: ApiError) -> JsonObject:
    """Why an answer that had begun does not go on."""
    kind = "server_error" if error.status >= SERVER_ERROR else "invalid_request_error"
    return {"message": error.detail, "type": kind, "param": error.param, "code": error.code}


BODIES: Mapping[Endpoint, Callable[[ResultRow, str, int], JsonObject]] = {
    Endpoint.CHAT: _chat,
    Endpoint.COMPLETIONS: _completion,
    Endpoint.RESPONSES: _as_response,
}
