"""The lines of a batch's file as items: each is read, checked and given its user's profile."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from api.http.bodies import BYTE_ORDER_MARK, MAX_LINE_BYTES, JsonSyntaxError, parse_json
from api.http.errors import LineError, line_errors
from api.jobs.schemas import CustomId
from api.openai.generation import RULES, Endpoint, GenerationBody, Rules
from api.profiles.schemas import StrictModel
from api.submissions.inspection import Inspection
from api.submissions.item_source import Candidate, Place, ReadOptions
from db.batches import batches
from db.queries import keys
from db.queries.profiles import PinnedProfile, resolve_profiles
from domain.json_values import JsonObject
from domain.states import UnknownUsers

ROWS_PER_BATCH = 500
PROFILES_REMEMBERED = 5000
BODY = "/body"
ONLY_ID = "answer"
"""The `custom_id` of a request whose answer is waited for."""


class Envelope(StrictModel):
    """A line of a batch file: a request's body, where it goes and what it is called."""

    custom_id: CustomId
    method: Literal["POST"]
    url: str
    body: Annotated[dict[str, Any], Field(min_length=1)]


class Line(NamedTuple):
    """One line and all that is wrong with it so far. A wrong line still names itself, if it does so properly."""

    place: Place
    custom_id: str | None
    body: GenerationBody | None
    errors: list[LineError]


@dataclass(frozen=True, slots=True)
class BatchLines:
    """A batch's file, for one model under the name that its first line gives."""

    file: IO[bytes]
    endpoint: Endpoint
    unknown_users: UnknownUsers
    model: str | None = None
    head: ReadOptions = field(default_factory=ReadOptions)

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items, in order; users are looked up a batch at a time."""
        first_places: dict[str, str] = {}
        profiles: dict[str, PinnedProfile] = {}
        is_refusing = keys.refuses_unknown_users(session, tenant_id, self.unknown_users)
        for batch in batches(numbered_lines(self.file), ROWS_PER_BATCH):
            lines = [read_line(number, text, self.endpoint) for number, text in batch]
            if len(profiles) > PROFILES_REMEMBERED:
                profiles.clear()
            named = [line.body.user_id for line in lines if line.body is not None]
            new = [user_id for user_id in named if user_id is not None and user_id not in profiles]
            profiles.update(resolve_profiles(session, tenant_id, new))
            for line in lines:
                inspection.count_row()
                errors = [
                    *line.errors,
                    *_identity_errors(line, first_places),
                    *self._errors(line, profiles, is_refusing=is_refusing),
                ]
                if errors:
                    inspection.add(*errors)
                elif line.body is not None and line.custom_id is not None:
                    yield a_candidate(
                        line.custom_id, line.body, profiles, self.endpoint, line.place._replace(prefix=BODY)
                    )

    def _errors(self, line: Line, profiles: Mapping[str, object], *, is_refusing: bool) -> Iterator[LineError]:
        body = line.body
        if body is None:
            return
        if body.model != self.model:
            message = f"All lines of a batch have one model, and the first names `{self.model}`."
            yield line.place.error("model_mismatch", message, f"{BODY}/model")
        if is_refusing:
            yield from user_errors(body, profiles, line.place._replace(prefix=BODY))


@dataclass(frozen=True, slots=True)
class OneRequest:
    """A body whose answer is waited for, as a job of one item."""

    body: GenerationBody
    endpoint: Endpoint
    unknown_users: UnknownUsers
    user_errors: Callable[[Any, Mapping[str, object], Place], Iterable[LineError]]
    """What is wrong where only users with a profile are written for, in the vendor's words."""
    head: ReadOptions

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The one item that is asked for; `inspection` is told what is wrong with it."""
        named = self.body.user_id
        profiles = resolve_profiles(session, tenant_id, [] if named is None else [named])
        inspection.count_row()
        if keys.refuses_unknown_users(session, tenant_id, self.unknown_users):
            inspection.add(*self.user_errors(self.body, profiles, Place()))
        yield a_candidate(ONLY_ID, self.body, profiles, self.endpoint, Place())


def user_errors(body: GenerationBody, profiles: Mapping[str, object], place: Place) -> Iterator[LineError]:
    """That the body names no user with a profile, where only such are written for."""
    if body.user_id is None:
        yield place.error("user_required", "Name the user it is written for as `user`.", "/user")
    elif body.user_id not in profiles:
        yield place.error("unknown_user", "There is no profile for this user: store one first.", "/user")


def a_candidate(
    custom_id: str, body: GenerationBody, profiles: Mapping[str, PinnedProfile], endpoint: Endpoint, place: Place
) -> Candidate:
    """The item that a body at this place asks for; without a profile of its user it is not guided."""
    user_id = body.user_id or ""
    profile = profiles.get(user_id) or PinnedProfile(user_id, 0, {})
    return Candidate(custom_id, profile, body.turns, place, RULES[endpoint].text_at, body)


def numbered_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number, counted from 1, and None for one that is too long; blank ones are counted only."""
    file.seek(0)
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 2):
        number += 1
        content = line.rstrip(b"\r\n")
        if len(content) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield number, None
            continue
        if number == 1:
            content = content.removeprefix(BYTE_ORDER_MARK)
        if content.strip():
            yield number, content


def first_model(file: IO[bytes]) -> tuple[Place, str] | None:
    """The model that the first line to name one names, and where."""
    for number, text in numbered_lines(file):
        try:
            value = parse_json(text or b"")
        except JsonSyntaxError:
            continue
        body = value.get("body") if isinstance(value, dict) else None
        model = body.get("model") if isinstance(body, dict) else None
        if isinstance(model, str) and model:
            return Place(line=number, prefix=BODY), model
    return None


def read_line(number: int, text: bytes | None, endpoint: Endpoint) -> Line:
    """One line, with all that is wrong with it."""
    place = Place(line=number)
    if text is None:
        message = f"A line may have at most {MAX_LINE_BYTES} bytes."
        return Line(place, None, None, [place.error("line_too_long", message)])
    try:
        value = parse_json(text)
    except JsonSyntaxError as error:
        message = f"This line is not valid JSON: {str(error).replace('line 1 column', 'column')}."
        return Line(place, None, None, [place.error("invalid_json_line", message)])
    if not isinstance(value, dict):
        return Line(place, None, None, [place.error("invalid_json_line", "A line is a JSON object.")])
    errors = list(_envelope_errors(value, place, endpoint))
    body = None
    if isinstance(value.get("body"), dict):
        body, found = read_body(value["body"], RULES[endpoint], Place(line=number, prefix=BODY))
        errors += found
    is_named = not any(error.pointer in {"", "/custom_id"} for error in errors)
    return Line(place, value["custom_id"] if is_named else None, body, errors)


def read_body(given: JsonObject, rules: Rules, place: Place) -> tuple[GenerationBody | None, list[LineError]]:
    """The body at this place, or all that is wrong with it. What is null is as if unsaid."""
    errors, stated = [], {}
    for name, value in given.items():
        refused = rules.refused.get(name)
        if value is None or name in rules.harmless:
            continue
        if refused is None:
            stated[name] = value
        elif not any(type(value) is type(allowed) and value == allowed for allowed in refused.unless):
            errors.append(place.error("unsupported_parameter", f"`{name}`: {refused.reason}", f"/{name}"))
    if "max_tokens" in stated and stated["max_tokens"] == stated.get("max_completion_tokens"):
        del stated["max_tokens"]
    try:
        return rules.schema.model_validate(stated), errors
    except ValidationError as error:
        return None, [*errors, *line_errors(error, line=place.line, prefix=place.prefix)]


def _envelope_errors(value: JsonObject, place: Place, endpoint: Endpoint) -> Iterator[LineError]:
    try:
        envelope = Envelope.model_validate(value)
    except ValidationError as error:
        yield from line_errors(error, line=place.line)
        return
    if envelope.url != endpoint:
        message = f"The `url` of every line is the batch's endpoint, `{endpoint}`."
        yield place.error("url_mismatch", message, "/url")


def _identity_errors(line: Line, first_places: dict[str, str]) -> Iterable[LineError]:
    if line.custom_id is None:
        return
    first = first_places.setdefault(line.custom_id, line.place.label)
    if first != line.place.label:
        yield line.place.error("duplicate_custom_id", f"{first} has the same custom_id.", "/custom_id")
