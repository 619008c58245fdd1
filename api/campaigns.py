"""Campaigns: one prompt for many users, with placeholders that their profiles fill."""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.errors import InvalidRequestError, LineError, line_errors
from api.inspection import Inspection
from api.item_rows import as_user_turn
from api.item_source import Candidate, Place, ReadOptions
from api.job_schemas import Audience, CampaignIn, Options, Overrides
from api.profile_schemas import MAX_ATTRIBUTES
from db.batches import batches
from db.queries.profiles import PinnedProfile, resolve_profiles
from db.queries.profiles import audience as profiles_of

USERS_PER_BATCH = 500
MAX_NAMES = MAX_ATTRIBUTES + 1  # the attributes of a profile, and `user_id`
SAYS_NOTHING = Overrides()
# Plain names alone: no attribute, no index, no conversion, no format. Whatever else has a brace is refused.
_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]{0,63})\}|[{}]")


class TemplateError(ValueError):
    """The prompt has a brace that is neither part of a `{name}` nor doubled, or more names than a profile can have."""


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt cut into texts and the names between them: `texts[0] + value(names[0]) + texts[1] + ...`."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    def missing(self, values: Mapping[str, str]) -> list[str]:
        """The names without a value, each once."""
        return [name for name in dict.fromkeys(self.names) if name not in values]

    def num_characters(self, values: Mapping[str, str]) -> int:
        """How long the prompt is once it is expanded."""
        return sum(map(len, self.texts)) + sum(len(values[name]) for name in self.names)

    def expand(self, values: Mapping[str, str]) -> str:
        """The prompt with every name replaced by its value; a value is text and is never looked into."""
        filled = (values[name] + text for name, text in zip(self.names, self.texts[1:], strict=True))
        return self.texts[0] + "".join(filled)


def parse_template(prompt: str) -> Template:
    """The template that a prompt stands for; `{{` and `}}` are braces. Raises `TemplateError`."""
    texts, names, end = [""], list[str](), 0
    for token in _TOKEN.finditer(prompt):
        texts[-1] += prompt[end : token.start()]
        end = token.end()
        if token[1] is not None:
            names.append(token[1])
            texts.append("")
        elif len(token[0]) == 2:  # noqa: PLR2004 - a doubled brace
            texts[-1] += token[0][0]
        else:
            message = (
                f"The brace at character {token.start() + 1} is not part of a {{name}}; write it twice to mean it."
            )
            raise TemplateError(message)
    texts[-1] += prompt[end:]
    if len(set(names)) > MAX_NAMES:
        raise TemplateError(f"The prompt has more than {MAX_NAMES} names; no profile has values for so many.")
    return Template(tuple(texts), tuple(names))


@dataclass(frozen=True, slots=True)
class Campaign:
    """A job of one item per profile in the audience; each item's custom_id is its user's id."""

    head: ReadOptions
    template: Template
    whom: Audience
    max_characters: int
    may_name_users: bool
    """Whether errors may name users that the client has not named itself."""

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items: in the order of `user_ids` where those are given, otherwise in the order of the user ids."""
        is_empty = True
        for place, profile in self._profiles(session, tenant_id, inspection):
            is_empty = False
            inspection.count_row()
            values = {**_attributes(profile), "user_id": profile.user_id}
            error = self._error(profile.user_id, values, place)
            if error is not None:
                inspection.add(error)
                continue
            prompt = as_user_turn(self.template.expand(values))
            yield Candidate(profile.user_id, profile, [prompt], place, "", SAYS_NOTHING)
        if is_empty and self.whom.user_ids is None:
            inspection.add(self._nobody())

    def _nobody(self) -> LineError:
        if self.whom.tags is None:
            return LineError("no_items", "There are no profiles yet: store one first.", "/audience/all")
        return LineError("no_items", "No profile has any of these tags.", "/audience/tags")

    def _error(self, user_id: str, values: Mapping[str, str], place: Place) -> LineError | None:
        """What is wrong with the prompt for one user; found before it is made."""
        missing = self.template.missing(values)
        if missing:
            named = ", ".join(f"`{name}`" for name in missing)
            return place.error("missing_attribute", f"The profile of {self._user(user_id)} has no attribute {named}.")
        if (num_characters := self.template.num_characters(values)) > self.max_characters:
            message = f"The text has {num_characters} characters; at most {self.max_characters} are allowed."
            return place.error("prompt_too_long", message)
        if not self.template.expand(values).strip():
            return place.error("blank_prompt", f"The prompt for {self._user(user_id)} is blank.")
        return None

    def _user(self, user_id: str) -> str:
        is_known = self.may_name_users or self.whom.user_ids is not None
        return f"user `{user_id}`" if is_known else "a user"

    def _profiles(
        self, session: Session, tenant_id: uuid.UUID, inspection: Inspection
    ) -> Iterator[tuple[Place, PinnedProfile]]:
        if self.whom.user_ids is not None:
            yield from _named_profiles(session, tenant_id, self.whom.user_ids, inspection)
            return
        at_prompt = Place(prefix="/prompt")
        for profile in profiles_of(session, tenant_id, tags=self.whom.tags or ()):
            yield at_prompt, profile


def read_campaign(body: Mapping[str, object], *, max_characters: int, max_users: int, may_name_users: bool) -> Campaign:
    """The campaign that a JSON object describes. Raises all that is wrong with it by itself.

    A prompt of more than `max_characters` and an audience of more than `max_users` names are not looked into.
    """
    errors = list(_size_errors(body, max_characters, max_users))
    campaign, template = None, None
    if errors:
        raise InvalidRequestError("The campaign was refused and nothing was stored.", errors=errors)
    try:
        campaign = CampaignIn.model_validate(body)
    except ValidationError as error:
        errors += line_errors(error)
    try:
        template = parse_template(str(body.get("prompt", "")))
    except TemplateError as error:
        errors.append(LineError("placeholder", str(error), "/prompt"))
    if campaign is None or template is None:
        raise InvalidRequestError("The campaign was refused and nothing was stored.", errors=errors)
    options = Options.model_construct(**{name: getattr(campaign, name) for name in Options.model_fields})
    return Campaign(ReadOptions(options), template, campaign.audience, max_characters, may_name_users)


def _size_errors(body: Mapping[str, object], max_characters: int, max_users: int) -> Iterator[LineError]:
    prompt, audience = body.get("prompt"), body.get("audience")
    if isinstance(prompt, str) and len(prompt) > max_characters:
        message = f"The text has {len(prompt)} characters; at most {max_characters} are allowed."
        yield LineError("prompt_too_long", message, "/prompt")
    user_ids = audience.get("user_ids") if isinstance(audience, dict) else None
    if isinstance(user_ids, list) and len(user_ids) > max_users:
        yield LineError("too_many_items", f"A job may have at most {max_users} items.", "/audience/user_ids")


def _named_profiles(
    session: Session, tenant_id: uuid.UUID, user_ids: Sequence[str], inspection: Inspection
) -> Iterator[tuple[Place, PinnedProfile]]:
    first_places: dict[str, str] = {}
    for batch in batches(enumerate(user_ids), USERS_PER_BATCH):
        profiles = resolve_profiles(session, tenant_id, [user_id for _, user_id in batch])
        for index, user_id in batch:
            place = Place(prefix=f"/audience/user_ids/{index}")
            first = first_places.setdefault(user_id, place.label)
            if first != place.label:
                message = f"{first} names the same user."
                inspection.add(place.error("duplicate_custom_id", message))
            elif user_id not in profiles:
                message = f"There is no profile for user `{user_id}`: store one first."
                inspection.add(place.error("unknown_user", message))
            else:
                yield place, profiles[user_id]


def _attributes(profile: PinnedProfile) -> dict[str, str]:
    attributes = profile.body.get("attributes")
    return {str(name): str(value) for name, value in attributes.items()} if isinstance(attributes, dict) else {}
