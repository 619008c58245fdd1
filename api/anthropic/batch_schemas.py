"""Message batches as Anthropic writes them, going in and coming out. Shapes only; all times are RFC 3339."""

import datetime as dt
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.jobs.schedule_schemas import CompletionWindow, ScheduleFields
from api.jobs.schemas import Metadata


class CreateFields(ScheduleFields):
    """What a batch may say beside its requests; all of it is padserve's own."""

    completion_window: CompletionWindow = Field(
        default="24h", description="What has not ended then never will: it has expired, what is finished is kept."
    )
    metadata: Metadata = Field(default_factory=dict, description="Yours; kept with the job.")


class BatchRequest(BaseModel):
    """One request of a batch."""

    custom_id: str
    params: dict[str, Any] = Field(description="As of `POST /v1/messages`, without `stream`.")


class MessageBatchIn(CreateFields):
    """A batch of requests, all for one model."""

    requests: list[BatchRequest] = Field(min_length=1)


class ProcessingStatus(StrEnum):
    """Where a batch stands. A cancel ends it at once: nobody sees it `canceling`."""

    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"


class RequestCounts(BaseModel):
    """How many of its requests stand where, now; they add up to all of them."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatchOut(BaseModel):
    """A message batch and how far it is."""

    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: ProcessingStatus
    request_counts: RequestCounts
    ended_at: dt.datetime | None
    created_at: dt.datetime
    expires_at: dt.datetime
    archived_at: dt.datetime | None = Field(default=None, description="Never: results are kept until they are deleted.")
    cancel_initiated_at: dt.datetime | None
    results_url: str | None = Field(description="Once it has ended.")
    model: str = Field(description="padserve's own: which model writes it.")
    job_id: str = Field(description="padserve's own: the job that the batch is, for /v1/jobs.")


class MessageBatchList(BaseModel):
    """A page of batches, newest first."""

    data: list[MessageBatchOut]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedMessageBatch(BaseModel):
    """A batch that is gone."""

    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


PARAMS_EXAMPLE = {
    "model": "tiny",
    "max_tokens": 60,
    "messages": [{"role": "user", "content": "Write about tea."}],
    "metadata": {"user_id": "ada"},
}
BATCH_EXAMPLE = {"requests": [{"custom_id": "letter-1", "params": PARAMS_EXAMPLE}]}
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (MessageBatchIn,)
