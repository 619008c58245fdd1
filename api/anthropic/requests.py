"""The requests of a batch as items: each is read from the body, checked and given its user's profile."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from api.anthropic.generation import BATCHED, MessageBody, user_errors
from api.http.bodies import MAX_LINE_BYTES, JsonSyntaxError, parse_json
from api.http.errors import LineError, MalformedBodyError, line_errors
from api.http.json_parts import Part, Text, read_parts
from api.jobs.schemas import CustomId
from api.openai.generation import Endpoint, Rules
from api.openai.lines import a_candidate, read_body
from api.profiles.schemas import StrictModel
from api.submissions.inspection import Inspection
from api.submissions.item_source import Candidate, Place, ReadOptions
from db.batches import batches
from db.queries import keys
from db.queries.profiles import PinnedProfile, resolve_profiles
from domain.states import UnknownUsers

ROWS_PER_BATCH = 500
PROFILES_REMEMBERED = 5000
REQUESTS = "requests"
PARAMS = "/params"


class Envelope(StrictModel):
    """Around the parameters of each request."""

    custom_id: CustomId
    params: Annotated[dict[str, Any], Field(min_length=1)]


class ReadRequest(NamedTuple):
    """One request and all that is wrong with it so far. A wrong one still names itself, if it does so properly."""

    place: Place
    custom_id: str | None
    body: MessageBody | None
    errors: list[LineError]


@dataclass(frozen=True, slots=True)
class BatchRequests:
    """The requests of a batch, for one model under the name that the first of them gives."""

    text: Text
    unknown_users: UnknownUsers
    user_profile_id: str | None
    """Whom all of them are for that name nobody."""
    model: str | None = None
    head: ReadOptions = field(default_factory=ReadOptions)

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items, in order; users are looked up a batch at a time."""
        first_places: dict[str, str] = {}
        profiles: dict[str, PinnedProfile] = {}
        is_refusing = keys.refuses_unknown_users(session, tenant_id, self.unknown_users)
        for batch in batches(request_parts(self.text), ROWS_PER_BATCH):
            asked = [read_request(part, self.user_profile_id) for part in batch]
            if len(profiles) > PROFILES_REMEMBERED:
                profiles.clear()
            named = [one.body.user_id for one in asked if one.body is not None]
            new = [user_id for user_id in named if user_id is not None and user_id not in profiles]
            profiles.update(resolve_profiles(session, tenant_id, new))
            for one in asked:
                inspection.count_row()
                errors = [
                    *one.errors,
                    *_identity_errors(one, first_places),
                    *self._errors(one, profiles, is_refusing=is_refusing),
                ]
                if errors:
                    inspection.add(*errors)
                elif one.body is not None and one.custom_id is not None:
                    yield a_candidate(one.custom_id, one.body, profiles, Endpoint.CHAT, _params(one.place))

    def _errors(self, one: ReadRequest, profiles: Mapping[str, object], *, is_refusing: bool) -> Iterator[LineError]:
        if one.body is None:
            return
        if one.body.model != self.model:
            message = f"All requests of a batch have one model, and the first names `{self.model}`."
            yield one.place.error("model_mismatch", message, f"{PARAMS}/model")
        if is_refusing:
            yield from user_errors(one.body, profiles, _params(one.place))


def all_parts(text: Text) -> Iterator[Part]:
    """The parts of a request for a batch; `MalformedBodyError` where it is no JSON object."""
    try:
        yield from read_parts(text, REQUESTS, MAX_LINE_BYTES)
    except JsonSyntaxError as error:
        raise MalformedBodyError(f"The body is not a JSON object: {error}.") from error


def request_parts(text: Text) -> Iterator[Part]:
    """The parts of a body that are requests, without those that are said once for the batch."""
    return (part for part in all_parts(text) if part.number is not None)


def value_of(part: Part) -> object:
    """What a part is; `MalformedBodyError` where it is no JSON value."""
    try:
        return parse_json(part.data or b"")
    except JsonSyntaxError as error:
        where = part.name[:64] if part.number is None else f"{REQUESTS}.{part.number}"
        raise MalformedBodyError(f"The body is not valid JSON: in `{where}`, {error}.") from error


def read_request(part: Part, user_profile_id: str | None) -> ReadRequest:
    """One request, with all that is wrong with it."""
    place = Place(prefix=f"/{REQUESTS}/{part.number}")
    if part.data is None:
        message = f"A request may have at most {MAX_LINE_BYTES} bytes."
        return ReadRequest(place, None, None, [place.error("request_too_long", message)])
    value = value_of(part)
    if not isinstance(value, dict):
        return ReadRequest(place, None, None, [place.error("not_an_object", "A request is a JSON object.")])
    errors = list(_envelope_errors(value, place))
    body = None
    if isinstance(value.get("params"), dict):
        body, found = read_params(value["params"], user_profile_id, _params(place))
        errors += found
    is_named = not any(error.pointer in {place.prefix, f"{place.prefix}/custom_id"} for error in errors)
    return ReadRequest(place, value["custom_id"] if is_named else None, body, errors)


def read_params(
    given: dict[str, Any], user_profile_id: str | None, place: Place, rules: Rules = BATCHED
) -> tuple[MessageBody | None, list[LineError]]:
    """The parameters at this place, or all that is wrong with them. The header names a user where they do not."""
    own = given.get("user_profile_id")
    body, errors = read_body({**given, "user_profile_id": user_profile_id if own is None else own}, rules, place)
    if own is not None and user_profile_id is not None and own != user_profile_id:
        message = "The header `anthropic-user-profile-id` names somebody else."
        errors.append(place.error("user_profile_mismatch", message, "/user_profile_id"))
    return (body if isinstance(body, MessageBody) else None), errors


def _params(place: Place) -> Place:
    return place._replace(prefix=place.prefix + PARAMS)


def _envelope_errors(value: dict[str, Any], place: Place) -> list[LineError]:
    try:
        Envelope.model_validate(value)
    except ValidationError as error:
        return line_errors(error, prefix=place.prefix)
    return []


def _identity_errors(one: ReadRequest, first_places: dict[str, str]) -> Iterable[LineError]:
    if one.custom_id is None:
        return
    first = first_places.setdefault(one.custom_id, one.place.label)
    if first != one.place.label:
        yield one.place.error("duplicate_custom_id", f"{first} has the same custom_id.", "/custom_id")
