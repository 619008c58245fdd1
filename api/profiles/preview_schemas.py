"""What a preview of a profile asks and answers: one prompt under several settings, and what guided each token."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.campaigns.preview_schemas import MAX_WAIT_SECONDS
from api.http.bounds import ModelName
from api.jobs.schemas import ItemErrorOut, Messages, Overrides, Prompt
from api.profiles.schemas import MaxKl, StrictModel
from domain.preferences import MAX_STRENGTH, Method
from domain.sampling import MAX_TOKENS_SHOWN

MAX_VARIANTS = 8
MAX_GIVEN_CHARACTERS = 8000


class Variant(StrictModel):
    """One setting to try; what it does not say is as the body, and then the profile, has it."""

    method: Method | None = Field(default=None, strict=False)
    strength: float | None = Field(default=None, ge=0, le=MAX_STRENGTH, allow_inf_nan=False)
    max_kl: MaxKl | None = None


class ProfilePreviewIn(Overrides):
    """A prompt, and how it is to be tried. What is stated here goes before the profile, as in an item."""

    prompt: Prompt | None = Field(default=None, description="Either this or `messages`.")
    messages: Messages | None = Field(default=None, description="Either this or `prompt`.")
    model: ModelName | None = Field(default=None, description="As in a job.")
    variants: list[Variant] = Field(
        default=[Variant()], min_length=1, max_length=MAX_VARIANTS, description="One text each, all of one seed."
    )
    token_rewards: bool = Field(
        default=False,
        description=f"Say of each token what guided it. Texts then have at most {MAX_TOKENS_SHOWN} tokens.",
    )
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_GIVEN_CHARACTERS)] | None = Field(
        default=None,
        description="Nothing is written: this text is read, as far as it fits, and its token rewards are given.",
    )
    wait_seconds: int = Field(default=60, ge=1, le=MAX_WAIT_SECONDS, description="So long texts are waited for.")

    @property
    def shows_tokens(self) -> bool:
        """Whether token rewards are to be given."""
        return self.token_rewards or self.text is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("prompt_or_messages", "Say either `prompt` or `messages`.")
        if self.n not in {None, 1}:
            raise PydanticCustomError("one_text", "A preview writes one text per variant: leave `n` out.")
        if self.shows_tokens and self.max_tokens is not None and self.max_tokens > MAX_TOKENS_SHOWN:
            raise PydanticCustomError(
                "too_many_tokens",
                "With token rewards, `max_tokens` is at most {most}.",
                {"most": MAX_TOKENS_SHOWN},
            )
        return self


class CandidateOut(BaseModel):
    """One of the tokens among which a step decided. Log-probabilities are over these alone, at temperature 1."""

    token_id: int
    text: str
    base_log_probability: float
    reward: float = Field(description="In nats.")
    guided_log_probability: float


class TokenOut(BaseModel):
    """One token of the text, and what guided it."""

    token_id: int
    text: str = Field(description="What it adds to the text; the texts of all tokens, joined, are the whole.")
    log_probability: float = Field(description="Under the base, over the whole vocabulary, in nats.")
    reward: float = Field(description="In nats, over the candidates; also of a token that was none of them.")
    strength: float = Field(description="What this step used: less than the asked strength where the budget cut it.")
    kl: float = Field(description="KL(guided || base) over the candidates, in nats.")
    is_changed: bool = Field(description="Whether guidance prefers another candidate than the base does.")
    is_end: bool = Field(False, description="Whether it is the end-of-sequence token, which adds nothing to the text.")
    candidates: list[CandidateOut] = Field(description="The base's most likely tokens, the most likely first.")


class PrincipleOut(BaseModel):
    """How much a principle speaks for the text."""

    text: str
    log_ratio: float = Field(description="log-likelihood with the principle less that without, in nats.")


class TokenRewardsOut(BaseModel):
    """What guided a text, token by token."""

    strength: float = Field(description="As asked for; 0 where nothing guides.")
    max_kl: float | None
    principles: list[PrincipleOut] = Field(description="Under `mixture`; otherwise empty.")
    tokens: list[TokenOut]


class PreviewedText(BaseModel):
    """What one setting gave."""

    method: Method | None
    strength: float | None
    max_kl: float | None
    text: str | None
    finish_reason: str | None
    reward: float | None
    kl: float | None
    token_rewards: TokenRewardsOut | None = None
    error: ItemErrorOut | None = Field(description="Why there is no text.")


class ProfilePreviewOut(BaseModel):
    """A prompt under several settings. Nothing of it is kept."""

    object: Literal["profile.preview"] = "profile.preview"
    user_id: str | None
    profile_version: int | None
    model: str
    complete: bool = Field(description="Whether all that was asked for is here.")
    data: list[PreviewedText]


PROFILE_PREVIEW_EXAMPLE = {
    "prompt": "Write two sentences about our new tea.",
    "variants": [{"method": "none"}, {"method": "prompt"}, {"strength": 1.0}],
    "token_rewards": True,
    "max_tokens": 64,
}
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (ProfilePreviewIn,)
