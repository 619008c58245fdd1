"""What a profile is on the wire: bodies in, made canonical and checked, and resources out. Pure values."""

import datetime as dt
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from db.queries.profiles import StoredProfile
from domain.json_values import JsonObject
from domain.preferences import (
    MAX_EXAMPLE_CHARACTERS,
    MAX_EXAMPLES,
    MAX_KL,
    MAX_PRINCIPLE_CHARACTERS,
    MAX_STRENGTH,
    Method,
    canonical_example,
    canonical_text,
)

MAX_USER_ID_CHARACTERS = 128
MAX_FORM_CHARACTERS = 8 * MAX_USER_ID_CHARACTERS
"""Most characters of a user id as it is sent: longer ones are refused before they are brought into canonical form."""
MAX_PRINCIPLES = 32
MAX_WEIGHT = 10.0
MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_CHARACTERS = 1000
MAX_TAGS = 64
MAX_METADATA = 16
JOINERS = "\u200c\u200d"
WITHOUT_JOINERS = str.maketrans("", "", JOINERS)


def canonical_user_id(user_id: str) -> str:
    """A user id in one Unicode form and without space around it: in that form it names one user."""
    return unicodedata.normalize("NFC", user_id).strip()


def check_user_id(user_id: str) -> str:
    """A user id in its canonical form.

    Printable, so that it can be shown; without "/", so that it is one part of a path.
    """
    canonical = canonical_user_id(user_id)
    if not canonical:
        raise PydanticCustomError("blank_user_id", "A user id needs a character that is not a space.")
    if len(canonical) > MAX_USER_ID_CHARACTERS:  # a canonical form may be longer
        message = "At most {max_length} characters are allowed."
        raise PydanticCustomError("string_too_long", message, {"max_length": MAX_USER_ID_CHARACTERS})
    if not canonical.isprintable() or "/" in canonical or canonical in {".", ".."}:
        raise PydanticCustomError("user_id", "Printable characters without '/' are allowed, and neither '.' nor '..'.")
    return canonical


def _canonical_unless_endless(value: object) -> object:
    """Before it is measured: another Unicode form may be longer, and is the same user."""
    return canonical_user_id(value) if isinstance(value, str) and len(value) <= MAX_FORM_CHARACTERS else value


def check_text(text: str) -> str:
    """A text without control characters, line breaks and tabs apart."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t" for character in text):
        raise PydanticCustomError("control_character", "Control characters are not allowed.")
    return text


def check_tag(tag: str) -> str:
    """A tag people can see and type; joiners between letters are part of how some scripts and emoji are written."""
    seen = tag.translate(WITHOUT_JOINERS)
    if not (seen and seen.isprintable()) or tag != tag.strip() or not {tag[0], tag[-1]}.isdisjoint(JOINERS):
        raise PydanticCustomError("tag", "A tag has printable characters and no space at either end.")
    return tag


def check_principle(text: str) -> str:
    """A principle in its canonical form."""
    canonical = canonical_text(text)
    if not canonical:
        raise PydanticCustomError("empty_principle", "A principle needs a text.")
    if len(canonical) > MAX_PRINCIPLE_CHARACTERS:
        message = "At most {max_length} characters are allowed."
        raise PydanticCustomError("string_too_long", message, {"max_length": MAX_PRINCIPLE_CHARACTERS})
    return check_text(canonical)


def check_example(text: str) -> str:
    """An example in its canonical form; it keeps its lines."""
    canonical = canonical_example(text)
    if not canonical:
        raise PydanticCustomError("empty_example", "An example needs a text.")
    return check_text(canonical)


def as_principle(value: object) -> object:
    """The short form of a principle is its text alone."""
    return {"text": value} if isinstance(value, str) else value


MaxKl = Annotated[
    float,
    Field(
        ge=0,
        le=MAX_KL,
        allow_inf_nan=False,
        description="Budget of the guidance, in nats per token: of the strength, each step uses as much as keeps "
        f"KL(guided || base) within it. {MAX_KL:g} never binds. The model's default if unsaid.",
    ),
]
Examples = Annotated[
    list[Annotated[str, Field(max_length=MAX_EXAMPLE_CHARACTERS), AfterValidator(check_example)]],
    Field(max_length=MAX_EXAMPLES),
]
UserId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_USER_ID_CHARACTERS,
        description="Your own name for the user: 1 to 128 printable characters without `/`. Space around it and its "
        "Unicode form (NFC) make no other user.",
        examples=["ada"],
    ),
    AfterValidator(check_user_id),
    BeforeValidator(_canonical_unless_endless),
]
Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(check_tag)]
AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
AttributeValue = Annotated[str, Field(max_length=MAX_ATTRIBUTE_CHARACTERS), AfterValidator(check_text)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(check_text)]
MetadataValue = Annotated[str, Field(max_length=512), AfterValidator(check_text)]


class StrictModel(BaseModel):
    """Takes nothing it does not know, and no "5" for 5."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PrincipleBody(StrictModel):
    """One preference statement, and how much it counts beside the others."""

    text: Annotated[str, AfterValidator(check_principle)]
    weight: float = Field(default=1.0, ge=0, le=MAX_WEIGHT, allow_inf_nan=False)


def check_principles(principles: list[PrincipleBody]) -> list[PrincipleBody]:
    """No principle twice: its weight would be anybody's guess."""
    places: dict[str, int] = {}
    for place, principle in enumerate(principles):
        first = places.setdefault(principle.text, place)
        if first != place:
            message = "Principles {first} and {second} are the same, counted from 0."
            raise PydanticCustomError("duplicate_principle", message, {"first": first, "second": place})
    return principles


class ProfileBody(StrictModel):
    """A user's preferences: what steers the writing, what fills placeholders, what lists filter by."""

    principles: Annotated[
        list[Annotated[PrincipleBody, BeforeValidator(as_principle, json_schema_input_type=str | PrincipleBody)]],
        Field(max_length=MAX_PRINCIPLES, description="Each a text, or a text with a weight."),
        AfterValidator(check_principles),
    ] = []
    method: Method | None = Field(
        default=None, strict=False, description="How to steer; the deployment's default if null."
    )
    strength: float | None = Field(default=None, ge=0, le=MAX_STRENGTH, allow_inf_nan=False)
    max_kl: MaxKl | None = None
    examples: Annotated[
        Examples, Field(description="Texts that the user wrote or liked: what is written for them is to be like these.")
    ] = []
    attributes: dict[AttributeName, AttributeValue] = Field(
        default={}, max_length=MAX_ATTRIBUTES, description="What `{name}` in a prompt stands for."
    )
    tags: Annotated[list[Tag], AfterValidator(lambda tags: sorted(set(tags)))] = Field(default=[], max_length=MAX_TAGS)
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default={}, max_length=MAX_METADATA, description="Yours; padserve keeps it and does not read it."
    )
    learn: bool = Field(
        default=False, description="The user agrees that feedback on texts changes the weights of the principles."
    )

    def canonical(self) -> JsonObject:
        """What is stored: every field, defaults filled in; consent, budget and examples only where they are given."""
        unsaid = {"learn": not self.learn, "max_kl": self.max_kl is None, "examples": not self.examples}
        left_out = {name for name, is_unsaid in unsaid.items() if is_unsaid}
        return self.model_dump(mode="json", exclude={"user_id", *left_out})


class ImportedProfile(ProfileBody):
    """One line of an import or an export."""

    user_id: UserId


class StoredPrinciple(BaseModel):
    """A principle as it is stored."""

    text: str
    weight: float


class Learned(BaseModel):
    """What a version that feedback wrote comes from; a version that a client wrote has none."""

    num_pairs: int
    base_version: int = Field(description="The version whose weights were the starting point.")
    deviations: list[float] = Field(description="Standard deviation of each weight: how sure it is.")
    agreement: float = Field(description="Share of the pairs that the weights rank as the user did.")


class ProfileResource(BaseModel):
    """A stored profile."""

    object: Literal["profile"] = "profile"
    user_id: str
    principles: list[StoredPrinciple]
    method: Method | None
    strength: float | None
    max_kl: float | None = None
    examples: list[str] = []
    attributes: dict[str, str]
    tags: list[str]
    metadata: dict[str, str]
    learn: bool = False
    learned: Learned | None = None
    version: int
    etag: str
    created_at: dt.datetime = Field(description="When the user's profile began.")
    updated_at: dt.datetime = Field(description="When this version was written.")


class ProfilePage(BaseModel):
    """One page of a list; go on with `after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[ProfileResource]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VersionPage(BaseModel):
    """One page of a profile's versions, the newest first; go on with `after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[ProfileResource]
    first_id: int | None
    last_id: int | None
    has_more: bool


class ImportReport(BaseModel):
    """What an import did; after a dry run, what it would have done."""

    object: Literal["profile.import"] = "profile.import"
    dry_run: bool
    num_profiles: int
    num_created: int
    num_updated: int
    num_unchanged: int


PROFILE_EXAMPLE = {
    "principles": ["humor", {"text": "explain for a beginner", "weight": 0.5}],
    "method": None,
    "strength": 1.0,
    "attributes": {"first_name": "Ada"},
    "tags": ["beta"],
}
# Read by their endpoints, so FastAPI does not see them: `api.documentation` puts them into the OpenAPI document.
DOCUMENTED_SCHEMAS: tuple[type[BaseModel], ...] = (ProfileBody, ImportedProfile)


def etag(profile: StoredProfile) -> str:
    """A strong entity tag. The digest keeps it safe where versions start at 1 again, after a deletion."""
    return f'"{profile.version}-{profile.digest[:16]}"'


def resource(profile: StoredProfile) -> ProfileResource:
    """A stored profile as its resource."""
    return ProfileResource.model_validate(
        {
            **profile.body,
            "user_id": profile.user_id,
            "learned": profile.learned,
            "version": profile.version,
            "etag": etag(profile),
            "created_at": profile.created_at,
            "updated_at": profile.updated_at,
        }
    )
