"""Previews of campaigns: what some users of the audience would get, before anything is queued. Nothing of it stays."""

import hashlib
import heapq
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.campaigns.items import Campaign, read_campaign
from api.campaigns.preview_schemas import PREVIEW_EXAMPLE, PreviewedUser, PreviewOptions, PreviewOut
from api.http.bodies import JSON, json_value, request_body
from api.http.dependencies import Caller, Scope, Services, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    ForbiddenError,
    InvalidRequestError,
    LineError,
    MalformedBodyError,
    ModelAmbiguousError,
    NoModelError,
    OverloadedError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    line_errors,
    responses,
)
from api.jobs.routes import Writer
from api.jobs.schemas import ItemErrorOut, Overrides
from api.settings import Settings
from api.streams.passing_jobs import ends, passing
from api.submissions.inspection import AudienceFindings, Inspection
from api.submissions.item_rows import as_user_turn
from api.submissions.item_source import Candidate, Place, ReadOptions
from api.submissions.planning import Planner
from api.submissions.submission import StoredJob, accept, model_of
from db.queries import audiences
from db.queries.profiles import PinnedProfile, resolve_profiles
from db.queries.results import ResultRow, read_results
from db.session import Database
from domain.preferences import Method
from domain.priorities import Priority

GUIDED, UNGUIDED = Overrides(), Overrides(method=Method.NONE)
NO_WORKER = ItemErrorOut(code="no_worker", message="No worker serves this model now: texts cannot be written.")
NOT_IN_TIME = ItemErrorOut(code="not_in_time", message="It was not written in time: ask for fewer, or wait longer.")

router = APIRouter(
    tags=["jobs"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)


@dataclass(frozen=True, slots=True)
class PreviewItems:
    """The items of a preview as a job of its own: each user's, and beside it the unguided one if asked for."""

    head: ReadOptions
    prompts: Sequence[tuple[PinnedProfile, str]]
    with_unguided: bool

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items of the chosen users, in order; for each the guided one before the unguided one."""
        del session, tenant_id
        for number, (profile, prompt) in enumerate(self.prompts):
            for own in (GUIDED, UNGUIDED) if self.with_unguided else (GUIDED,):
                inspection.count_row()
                name = f"{number}-{'guided' if own is GUIDED else 'unguided'}"
                yield Candidate(name, profile, [as_user_turn(prompt)], Place(prefix="/prompt"), "", own)


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of an audience, with their prompts or why there is none."""

    model: str
    num_users: int
    users: Sequence[PreviewedUser]
    items: PreviewItems
    is_served: bool


@router.post(
    "/v1/campaigns/preview",
    summary="Preview a campaign",
    responses=responses(
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        ModelAmbiguousError,
        NoModelError,
        OverloadedError,
        TooManyRequestsError,
    ),
    openapi_extra=request_body({"$ref": "#/components/schemas/PreviewIn"}, JSON, example=PREVIEW_EXAMPLE),
)
async def preview_campaign(
    request: Request,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[object, Depends(json_value(JSON))],
) -> PreviewOut:
    """Show what some users of the audience would get: their prompts, and if asked for their texts.

    The users are drawn by `seed`: the same ones each time. Texts are written ahead of your jobs, and waited for.
    """
    if not caller.may(Scope.PROFILES_READ):
        raise ForbiddenError(f"This API key lacks the scope `{Scope.PROFILES_READ}`: a preview shows profiles.")
    campaign, options = _read(body, services.settings)
    async with services.lanes.heavy.slot(caller.tenant_id):
        sample = await run_in_threadpool(
            _sample, services.settings, services.database, caller.tenant_id, campaign=campaign, options=options
        )
    users = sample.users
    if options.texts and sample.items.prompts:
        users = await _written(request, caller, services, sample, options)
    return PreviewOut(
        model=sample.model,
        num_users=sample.num_users,
        complete=all(user.error is None for user in users),
        data=list(users),
    )


def _read(body: object, settings: Settings) -> tuple[Campaign, PreviewOptions]:
    if not isinstance(body, dict):
        raise InvalidRequestError(errors=[LineError("not_an_object", "A preview is a JSON object.", "")])
    errors: list[LineError] = []
    campaign, options = None, None
    own = {name: value for name, value in body.items() if name in PreviewOptions.model_fields}
    try:
        options = PreviewOptions.model_validate(own)
    except ValidationError as error:
        errors += line_errors(error)
    try:
        campaign = read_campaign(
            {name: value for name, value in body.items() if name not in own},
            max_characters=settings.max_prompt_characters,
            max_users=settings.max_items,
            may_name_users=True,
        )
    except InvalidRequestError as error:
        errors += error.errors
    if campaign is None or options is None:
        raise InvalidRequestError(errors=errors)
    return campaign, options


def _sample(
    settings: Settings, database: Database, tenant_id: uuid.UUID, *, campaign: Campaign, options: PreviewOptions
) -> Sample:
    """Drawn, rendered and checked for the model; raises InvalidRequestError where that is wrong for everybody."""
    with database.reading() as session:
        num_users, num_excluded, drawn = _drawn(session, tenant_id, campaign, options)
        profiles = resolve_profiles(session, tenant_id, drawn)
        inspection = Inspection(settings.max_items)
        inspection.add(*_unknown(campaign, profiles, drawn))
        rendered = [campaign.rendered(profiles[user_id], inspection) for user_id in drawn if user_id in profiles]
        if not drawn:
            inspection.add(campaign.nobody(AudienceFindings(num_excluded=num_excluded)))
        inspection.raise_if_any()
        users = [
            PreviewedUser(
                user_id=each.profile.user_id,
                prompt=each.prompt,
                text=None,
                unguided_text=None,
                error=each.error and ItemErrorOut(code=each.error.code, message=each.error.message),
            )
            for each in rendered
        ]
        prompts = [(each.profile, each.prompt) for each in rendered if each.prompt is not None]
        items = PreviewItems(_head(campaign), prompts, options.unguided)
        model = model_of(session, items)
        if prompts:
            for _ in Planner(settings, tenant_id, items, model).items(session):
                pass
    return Sample(model.name, num_users, users, items, model.is_ready)


def _unknown(campaign: Campaign, profiles: Mapping[str, object], drawn: Sequence[str]) -> Iterator[LineError]:
    """Users that the campaign names and nobody knows."""
    for index, user_id in enumerate(campaign.whom.user_ids or ()):
        if user_id in drawn and user_id not in profiles:
            message = f"There is no profile for user `{user_id}`: store one first."
            yield LineError("unknown_user", message, f"/audience/user_ids/{index}")


def _head(campaign: Campaign) -> ReadOptions:
    """As the campaign has it, but at once, and nobody held out."""
    now = {"priority": Priority.INTERACTIVE, "not_before": None, "completion_window": None}
    nobody_held_out = {"holdout": None, "holdout_seed": None, "name": None}
    head = campaign.head
    return replace(head, options=head.options.model_copy(update=now | nobody_held_out))


def _drawn(
    session: Session, tenant_id: uuid.UUID, campaign: Campaign, options: PreviewOptions
) -> tuple[int, int, Sequence[str]]:
    """How many users are addressed and how many excluded, and `n` of the former in their order; by the seed."""
    whom, num_users, num_excluded = campaign.whom, 0, 0
    excluded = frozenset(whom.exclude or ())

    def drawing() -> Iterator[tuple[bytes, int, str]]:
        nonlocal num_users, num_excluded
        named = whom.user_ids
        found = audiences.user_ids(session, tenant_id, whom.tagged) if named is None else iter(dict.fromkeys(named))
        for user_id in found:
            if user_id in excluded:
                num_excluded += 1
            else:
                num_users += 1
                yield hashlib.sha256(f"{options.seed}:{user_id}".encode()).digest(), num_users, user_id

    drawn = sorted(heapq.nsmallest(options.n, drawing()), key=lambda each: each[1])
    return num_users, num_excluded, [user_id for _, _, user_id in drawn]


async def _written(
    request: Request, caller: Caller, services: Services, sample: Sample, options: PreviewOptions
) -> list[PreviewedUser]:
    """The users with their texts, as far as they were written in time."""
    if not sample.is_served:
        return _with_texts(sample, {}, NO_WORKER)
    job = await run_in_threadpool(_store, services.settings, services.database, caller.tenant_id, sample.items)
    async with passing(services, job) as job_id:
        await ends(request, services, job_id, seconds=options.wait_seconds)
        rows = await run_in_threadpool(_rows, services.database, job_id, 2 * len(sample.items.prompts))
    return _with_texts(sample, rows, NOT_IN_TIME)


def _store(settings: Settings, database: Database, tenant_id: uuid.UUID, items: PreviewItems) -> StoredJob:
    stored = accept(settings, database, tenant_id, items, None, is_announced=False).stored
    if stored is None:
        raise UnavailableError
    return stored


def _rows(database: Database, job_id: uuid.UUID, most: int) -> dict[str, ResultRow]:
    with database.reading() as session:
        return {row.custom_id: row for row in read_results(session, job_id=job_id, positions=range(most))}


def _with_texts(sample: Sample, rows: Mapping[str, ResultRow], otherwise: ItemErrorOut) -> list[PreviewedUser]:
    numbers = iter(range(len(sample.users)))
    return [
        user if user.prompt is None else _with_text(user, next(numbers), rows, sample, otherwise)
        for user in sample.users
    ]


def _with_text(
    user: PreviewedUser, number: int, rows: Mapping[str, ResultRow], sample: Sample, otherwise: ItemErrorOut
) -> PreviewedUser:
    wanted = ("guided", "unguided") if sample.items.with_unguided else ("guided",)
    found = {kind: rows.get(f"{number}-{kind}") for kind in wanted}
    errors = [error for row in found.values() if (error := _error(row, otherwise)) is not None]
    guided, unguided = found["guided"], found.get("unguided")
    texts = {"text": guided and guided.text, "unguided_text": unguided and unguided.text}
    return user.model_copy(update={**texts, "error": errors[0] if errors else None})


def _error(row: ResultRow | None, otherwise: ItemErrorOut) -> ItemErrorOut | None:
    if row is None:
        return otherwise
    return None if row.error_code is None else ItemErrorOut(code=row.error_code, message=row.error_message or "")
