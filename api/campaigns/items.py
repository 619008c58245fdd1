"""Campaigns: one prompt for many users, with placeholders that their profiles fill."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.campaigns.schemas import MAX_USERS_NAMED, Audience, CampaignIn
from api.campaigns.templates import Template, TemplateError, parse_template
from api.http.errors import InvalidRequestError, LineError, line_errors
from api.jobs.schemas import Options, Overrides
from api.submissions.inspection import AudienceFindings, Inspection
from api.submissions.item_rows import as_user_turn
from api.submissions.item_source import Candidate, Place, ReadOptions
from db.batches import batches
from db.queries import audiences
from db.queries.profiles import PinnedProfile, resolve_profiles

USERS_PER_BATCH = 500
SAYS_NOTHING = Overrides()
AT_THE_PROMPT = Place(prefix="/prompt")
REFUSED = "The campaign was refused and nothing was stored."


@dataclass(frozen=True, slots=True)
class Rendered:
    """A user's prompt, or why there is none."""

    profile: PinnedProfile
    prompt: str | None
    error: LineError | None


@dataclass(frozen=True, slots=True)
class Campaign:
    """A job of one item per profile in the audience; each item's custom_id is its user's id."""

    head: ReadOptions
    template: Template
    whom: Audience
    max_characters: int
    may_name_users: bool
    """Whether errors may name users that the client has not named itself."""
    skips_missing: bool = False
    takes_braces_literally: bool = False

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items: in the order of `user_ids` where those are given, otherwise in the order of the user ids."""
        found = inspection.audience = AudienceFindings()
        excluded = frozenset(self.whom.exclude or ())
        found.unknown_excluded = audiences.unknown_among(session, tenant_id, self.whom.exclude or ())
        num_addressed, misread = 0, set[str]()
        for place, profile in self._profiles(session, tenant_id, inspection):
            if profile.user_id in excluded:
                found.num_excluded += 1
                continue
            num_addressed += 1
            values = values_of(profile)
            misread |= self._misread(values, misread, inspection)
            missing = self.template.missing(values)
            if missing and self.skips_missing:
                self._skip(profile.user_id, missing, found)
                continue
            inspection.count_row()
            error = self._error(profile.user_id, values, missing, place)
            if error is not None:
                inspection.add(error)
                continue
            found.num_defaulted.update(self.template.defaulted(values))
            prompt = as_user_turn(self.template.expand(values))
            yield Candidate(profile.user_id, profile, [prompt], place, "", SAYS_NOTHING)
        if not inspection.num_errors and num_addressed == found.num_skipped:
            inspection.add(self.nobody(found))

    def rendered(self, profile: PinnedProfile, inspection: Inspection) -> Rendered:
        """One user's prompt or what is wrong with it; `inspection` is told of what is wrong for everybody."""
        values = values_of(profile)
        if not inspection.num_errors:
            self._misread(values, set(), inspection)
        error = self._error(profile.user_id, values, self.template.missing(values), AT_THE_PROMPT)
        return Rendered(profile, None if error else self.template.expand(values), error)

    def _misread(self, values: Mapping[str, str], known: set[str], inspection: Inspection) -> set[str]:
        """The attributes that stand between doubled braces, if those may be meant; each is told of once."""
        if self.takes_braces_literally:
            return set()
        new = {name for name in self.template.doubled if name in values} - known
        for name in sorted(new):
            message = (
                f"`{{{{{name}}}}}` is the text {{{name}}}, and `{name}` is an attribute: write `{{{name}}}` for each "
                "user's own, or say `literal_braces: true` to mean the braces."
            )
            inspection.add(LineError("doubled_braces", message, "/prompt"))
        return new

    def _skip(self, user_id: str, missing: Sequence[str], found: AudienceFindings) -> None:
        found.num_skipped += 1
        if self._names_users and len(found.skipped) < MAX_USERS_NAMED:
            found.skipped.append((user_id, missing))

    def nobody(self, found: AudienceFindings) -> LineError:
        """Why there is no item, where nothing else is wrong."""
        if found.num_skipped:
            needed = ", ".join(f"`{slot.name}`" for slot in self.template.slots if slot.default is None)
            message = f"Every user would be skipped: nobody has all of {needed}. Give defaults, as in {{name|friend}}."
            return LineError("no_items", message, "/prompt")
        if found.num_excluded:
            return LineError("no_items", "Everybody in the audience is excluded.", "/audience/exclude")
        if self.whom.tags is None:
            return LineError("no_items", "There are no profiles yet: store one first.", "/audience/all")
        fits = "has any of these tags" if isinstance(self.whom.tags, list) else "fits these tags"
        return LineError("no_items", f"No profile {fits}.", "/audience/tags")

    def _error(self, user_id: str, values: Mapping[str, str], missing: Sequence[str], place: Place) -> LineError | None:
        """What is wrong with the prompt for one user; found before it is made."""
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
        return f"user `{user_id}`" if self._names_users else "a user"

    @property
    def _names_users(self) -> bool:
        return self.may_name_users or self.whom.user_ids is not None

    def _profiles(
        self, session: Session, tenant_id: uuid.UUID, inspection: Inspection
    ) -> Iterator[tuple[Place, PinnedProfile]]:
        if self.whom.user_ids is not None:
            yield from _named_profiles(session, tenant_id, self.whom.user_ids, inspection)
            return
        for profile in audiences.audience(session, tenant_id, self.whom.tagged):
            yield AT_THE_PROMPT, profile


def read_campaign(body: Mapping[str, object], *, max_characters: int, max_users: int, may_name_users: bool) -> Campaign:
    """The campaign that a JSON object describes. Raises all that is wrong with it by itself.

    A prompt of more than `max_characters` and an audience of more than `max_users` names are not looked into.
    """
    errors = list(_size_errors(body, max_characters, max_users))
    campaign, template = None, None
    if errors:
        raise InvalidRequestError(REFUSED, errors=errors)
    try:
        campaign = CampaignIn.model_validate(body)
    except ValidationError as error:
        errors += line_errors(error)
    try:
        template = parse_template(str(body.get("prompt", "")))
    except TemplateError as error:
        errors.append(LineError("placeholder", str(error), "/prompt"))
    if campaign is None or template is None:
        raise InvalidRequestError(REFUSED, errors=errors)
    options = Options.model_construct(**{name: getattr(campaign, name) for name in Options.model_fields})
    return Campaign(
        *(ReadOptions(options), template, campaign.audience, max_characters, may_name_users),
        skips_missing=campaign.missing == "skip",
        takes_braces_literally=campaign.literal_braces,
    )


def values_of(profile: PinnedProfile) -> dict[str, str]:
    """What placeholders may stand for: the profile's attributes, and `user_id`."""
    attributes = profile.body.get("attributes")
    named = attributes.items() if isinstance(attributes, dict) else ()
    return {**{str(name): str(value) for name, value in named}, "user_id": profile.user_id}


def _size_errors(body: Mapping[str, object], max_characters: int, max_users: int) -> Iterator[LineError]:
    prompt, audience = body.get("prompt"), body.get("audience")
    if isinstance(prompt, str) and len(prompt) > max_characters:
        message = f"The text has {len(prompt)} characters; at most {max_characters} are allowed."
        yield LineError("prompt_too_long", message, "/prompt")
    for name, message in (
        ("user_ids", f"A job may have at most {max_users} items."),
        ("exclude", f"At most {max_users} users can be excluded."),
    ):
        user_ids = audience.get(name) if isinstance(audience, dict) else None
        if isinstance(user_ids, list) and len(user_ids) > max_users:
            yield LineError("too_many_items", message, f"/audience/{name}")


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
