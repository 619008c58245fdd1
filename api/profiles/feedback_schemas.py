"""What feedback is on the wire: pairs and ratings in, and how a fit to them stands. Shapes only."""

import datetime as dt
import uuid
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.http.bounds import ModelName
from api.jobs.schemas import CustomId, Messages, Prompt
from api.profiles.schemas import StrictModel, check_text
from db.queries.feedback import StoredFit
from domain.json_values import JsonObject
from domain.states import FitState

MAX_ENTRIES = 1000
MAX_TEXT_CHARACTERS = 32_000

RatedText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARACTERS), AfterValidator(check_text)]


class PairBody(StrictModel):
    """Two texts for one prompt, of which the user preferred one."""

    prompt: Prompt | None = Field(default=None, description="Either this or `messages`.")
    messages: Messages | None = Field(default=None, description="Either this or `prompt`.")
    chosen: RatedText
    rejected: RatedText

    @model_validator(mode="after")
    def _is_a_choice(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("prompt_or_messages", "Either `prompt` or `messages` is needed, and not both.")
        if self.chosen == self.rejected:
            raise PydanticCustomError("same_text", "`chosen` and `rejected` are the same text.")
        return self

    @property
    def turns(self) -> list[JsonObject]:
        """The conversation, as items store theirs."""
        if self.messages is None:
            return [{"role": "user", "content": self.prompt}]
        return [turn.model_dump() for turn in self.messages]


class RatingBody(StrictModel):
    """How much the user liked the text of a result."""

    job_id: Annotated[uuid.UUID, Field(strict=False)]
    custom_id: CustomId
    rating: float = Field(allow_inf_nan=False, description="On whatever scale: only which is higher counts.")


class FeedbackBody(StrictModel):
    """What a user said of texts. Two texts for one prompt, rated differently at whatever time, are a pair."""

    pairs: list[PairBody] = Field(default=[], max_length=MAX_ENTRIES)
    ratings: list[RatingBody] = Field(default=[], max_length=MAX_ENTRIES)
    model: ModelName | None = Field(
        default=None, description="Whose policy scores the texts, as in a job; needed where several have one."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.pairs and not self.ratings:
            raise PydanticCustomError("no_feedback", "At least one pair or rating is needed.")
        return self


class FitError(BaseModel):
    """Why a fit changed nothing."""

    code: str
    message: str


class FitResource(BaseModel):
    """One fit of the profile's weights to the feedback."""

    object: Literal["profile.fit"] = "profile.fit"
    id: str
    state: FitState
    num_pairs: int | None = Field(description="Pairs that could be scored, of the newest 400.")
    version: int | None = Field(
        description="The profile's version that it wrote; null until then, and where weights came out as they were."
    )
    error: FitError | None
    created_at: dt.datetime
    finished_at: dt.datetime | None


class FeedbackResource(BaseModel):
    """What is stored of a user's feedback, and what came of it."""

    object: Literal["profile.feedback"] = "profile.feedback"
    user_id: str
    num_pairs: int = Field(description="Pairs that are stored, those that ratings made among them.")
    num_ratings: int = Field(description="Texts whose ratings are stored: later ones of the same prompt make pairs.")
    num_new: int = Field(default=0, description="Of this request.")
    num_duplicate: int = Field(default=0, description="Of this request, stored before.")
    fit: FitResource | None = Field(description="The newest; null while there are too few pairs.")
    message: str | None = Field(default=None, description="Why nothing is learnt from this request, if so.")


FEEDBACK_EXAMPLE = {
    "pairs": [
        {
            "prompt": "Write a tip about tea.",
            "chosen": "Warm the pot first. Would you like to know why?",
            "rejected": "Warm the pot first.",
        }
    ]
}
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (FeedbackBody,)


def fit_resource(fit: StoredFit | None) -> FitResource | None:
    """A stored fit as its resource."""
    if fit is None:
        return None
    error = None
    if fit.error_code is not None:
        error = FitError(code=fit.error_code, message=fit.error_message or "")
    return FitResource(
        id=str(fit.fit_id),
        state=fit.state,
        num_pairs=fit.num_pairs,
        version=fit.version,
        error=error,
        created_at=fit.created_at,
        finished_at=fit.finished_at,
    )
