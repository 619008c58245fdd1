"""What a dry run answers. Shapes only."""

from typing import Literal

from pydantic import BaseModel, Field

from api.campaigns.schemas import AudienceOut
from api.jobs.schemas import HoldoutOut


class DryRunOut(BaseModel):
    """What a submission would be: it was checked as the real one is, and nothing of it is stored.

    What is not known is null, and the sentence beside it says why.
    """

    object: Literal["job.dry_run"] = "job.dry_run"
    name: str | None
    model: str
    model_digest: str
    num_items: int
    holdout: HoldoutOut | None = Field(description="Send its seed along to hold out the same users in earnest.")
    audience: AudienceOut | None = Field(description="Of a campaign: what became of its audience.")
    prompt_tokens: int = Field(description="An estimate: the tokenizer is the worker's.")
    prompt_tokens_basis: str
    max_completion_tokens: int = Field(description="No more can be written.")
    expected_completion_tokens: int | None
    expected_completion_tokens_basis: str
    num_items_ahead: int = Field(description="Items of your own jobs that go first.")
    expected_seconds: int | None = Field(description="From its submission, or `not_before`, to its last text.")
    expected_seconds_basis: str
