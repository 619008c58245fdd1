"""What a campaign looks like on the wire: a prompt, for whom, and what became of whom. Shapes only."""

from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, model_validator
from pydantic import Tag as Branch
from pydantic_core import PydanticCustomError

from api.jobs.schemas import JobOut, Options
from api.profiles.schemas import MAX_TAGS, StrictModel, Tag, UserId
from db.queries.audiences import EVERYBODY, Tagged

MAX_USERS_NAMED = 100
"""As many users as an answer names; the others are counted."""

Tags = Annotated[list[Tag], Field(min_length=1, max_length=MAX_TAGS)]


class TagExpression(StrictModel):
    """Profiles with any of some tags, with all of others and with none of a third kind; say at least one of them."""

    any: Tags | None = None
    all: Tags | None = None
    none: Tags | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "TagExpression":
        if self.any is self.all is self.none is None:
            raise PydanticCustomError("no_tags", "Say at least one of `any`, `all` and `none`.")
        return self


def _form(value: object) -> str:
    """As pydantic calls such branches, so that no error points at one."""
    return "dict[tags]" if isinstance(value, dict | TagExpression) else "list[tags]"


class Audience(StrictModel):
    """Whom a campaign is for: exactly one of `tags`, `user_ids` and `all`, without those that are excluded."""

    tags: (
        Annotated[
            Annotated[Tags, Branch("list[tags]")] | Annotated[TagExpression, Branch("dict[tags]")], Discriminator(_form)
        ]
        | None
    ) = Field(default=None, description="Profiles with any of these tags; or an object with `any`, `all` and `none`.")
    user_ids: list[UserId] | None = Field(default=None, min_length=1, fail_fast=True)
    all: Literal[True] | None = None
    exclude: list[UserId] | None = Field(
        default=None, fail_fast=True, description="User ids that get nothing; the answer tells the unknown ones."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "Audience":
        if sum(value is not None for value in (self.tags, self.user_ids, self.all)) != 1:
            raise PydanticCustomError("one_audience", "Say exactly one of `tags`, `user_ids` and `all`.")
        return self

    @property
    def tagged(self) -> Tagged:
        """As the database is asked; everybody where tags are not what it goes by."""
        if self.tags is None:
            return EVERYBODY
        if isinstance(self.tags, list):
            return Tagged(any_of=self.tags)
        return Tagged(self.tags.any or (), self.tags.all or (), self.tags.none or ())


class CampaignIn(Options):
    """One prompt for many users.

    `{name}` stands for an attribute of the profile or `user_id`; in `{name|default}` the default stands where the
    attribute is missing or blank; `{{` and `}}` are braces.
    """

    prompt: str
    audience: Audience
    missing: Literal["refuse", "skip"] = Field(
        default="refuse", description="What becomes of users who lack an attribute for which there is no default."
    )
    literal_braces: bool = Field(
        default=False, description="`{{name}}` is refused where `name` is an attribute, unless this says it is meant."
    )


class SkippedUser(BaseModel):
    """A user who has no item, and what of their profile is missing."""

    user_id: str
    missing: list[str]


class DefaultedAttribute(BaseModel):
    """An attribute that has a default in the prompt, and how often the default stands there."""

    attribute: str
    num_users: int = Field(
        description="Users with an item who lack the attribute or have it blank; if all do, it may be misspelt."
    )


class AudienceOut(BaseModel):
    """What became of a campaign's audience. As many users are named as the key may read, and 100 at most."""

    num_skipped: int
    skipped: list[SkippedUser]
    defaulted: list[DefaultedAttribute] = Field(
        description="Attributes in whose place somebody reads the default, by how many, the most first."
    )
    num_excluded: int = Field(description="Users who would have been addressed, and are excluded.")
    num_unknown_excluded: int
    unknown_excluded: list[str] = Field(description="User ids to exclude that have no profile: misspelt, perhaps.")


class SubmittedJob(JobOut):
    """A job as its submission is answered; of a campaign, with what became of its audience."""

    audience: AudienceOut | None = None


CAMPAIGN_EXAMPLE = {
    "prompt": "Write a reminder for {first_name|a friend of the house} about tea.",
    "audience": {"tags": {"any": ["beta"], "none": ["paused"]}},
}
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (CampaignIn,)
