"""Batches as OpenAI writes them, going in and coming out. Shapes only; all times are seconds since 1970."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from api.jobs.schedule_schemas import CompletionWindow, ScheduleFields
from api.jobs.schemas import Metadata
from api.openai.generation import Endpoint
from api.openai.uploads import ExpiresAfter
from domain.json_values import JsonObject
from domain.preferences import digest


class BatchBody(ScheduleFields):
    """What a batch is made of. `priority` and `not_before` are padserve's own."""

    input_file_id: str = Field(max_length=128, description="The file of requests, one per line.")
    endpoint: Endpoint = Field(strict=False, description="The `url` of every line.")
    completion_window: CompletionWindow = Field(
        description="What has not ended then never will: the batch has expired, what is finished is kept.",
        examples=["24h"],
    )
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = Field(
        default=None, description="How long output and error file are kept, from the end of the batch on."
    )

    @property
    def fingerprint(self) -> str:
        """Equal for a request that is sent again."""
        stated: JsonObject = self.model_dump(mode="json")
        return digest(stated)


class BatchStatus(StrEnum):
    """Where a batch stands. A cancel ends it at once, and so does its last item: nobody waits in between."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class BatchError(BaseModel):
    """One thing that is wrong with a batch's file."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(BaseModel):
    """All of them, or the first hundred and how many there are."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel):
    """How many of its requests stand where. What the completion window overtook has failed."""

    total: int
    completed: int
    failed: int
    cancelled: int = Field(description="padserve's own: requests that a cancel overtook.")


class InputDetails(BaseModel):
    """Parts of the prompt tokens; none are cached across requests here, so it is always 0."""

    cached_tokens: int = 0


class OutputDetails(BaseModel):
    """Parts of the tokens that were written; nothing reasons unseen here, so it is always 0."""

    reasoning_tokens: int = 0


class BatchUsage(BaseModel):
    """The tokens of all answers."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class BatchObject(BaseModel):
    """A batch and how far it is."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: Endpoint
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None = Field(description="Once it has answers; it can be read while the batch runs.")
    error_file_id: str | None = Field(description="Once requests of it have ended without an answer.")
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None = Field(description="Once the batch has ended.")
    metadata: dict[str, str] | None
    job_id: str | None = Field(description="padserve's own: the job that the batch is, for /v1/jobs.")


class BatchList(BaseModel):
    """A page of batches, newest first. The next page is the one `after` this page's `last_id`."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


BATCH_EXAMPLE = {"input_file_id": "file-0123", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (BatchBody,)
