"""What a preview of a campaign asks and answers. Shapes only."""

from typing import Literal

from pydantic import BaseModel, Field

from api.campaigns.schemas import CAMPAIGN_EXAMPLE, CampaignIn
from api.jobs.schemas import ItemErrorOut
from api.profiles.schemas import StrictModel

MAX_USERS = 20
DEFAULT_USERS = 5
MAX_WAIT_SECONDS = 300
MAX_SEED = 2**31 - 1


class PreviewOptions(StrictModel):
    """What a preview says besides the campaign."""

    n: int = Field(default=DEFAULT_USERS, ge=1, le=MAX_USERS, description="For how many users of the audience.")
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="Another one draws other users.")
    texts: bool = Field(default=False, description="Also write the texts of these users.")
    unguided: bool = Field(default=False, description="Beside each text, the same without guidance.")
    wait_seconds: int = Field(
        default=60, ge=1, le=MAX_WAIT_SECONDS, description="So long texts are waited for; the others are null."
    )


class PreviewIn(PreviewOptions, CampaignIn):
    """A campaign, and what is to be seen of it. A hold-out and a schedule are of no account here."""


class PreviewedUser(BaseModel):
    """What one user would get."""

    user_id: str
    prompt: str | None = Field(description="As the model reads it; null where it cannot be made.")
    text: str | None
    unguided_text: str | None
    error: ItemErrorOut | None = Field(description="Why there is no prompt, or not the texts that were asked for.")


class PreviewOut(BaseModel):
    """Some users of a campaign's audience and what they would get. Nothing of it is kept."""

    object: Literal["campaign.preview"] = "campaign.preview"
    model: str
    num_users: int = Field(description="How many the audience has.")
    complete: bool = Field(description="Whether all that was asked for is here.")
    data: list[PreviewedUser]


PREVIEW_EXAMPLE = {**CAMPAIGN_EXAMPLE, "n": 3, "texts": True}
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (PreviewIn,)
