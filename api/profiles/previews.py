"""Previews of a profile: one prompt under several settings, with what guided each token. Nothing of it stays."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.campaigns.previews import NO_WORKER, NOT_IN_TIME
from api.http.bodies import JSON, json_body, request_body
from api.http.dependencies import Caller, Scope, Services, ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    ForbiddenError,
    InvalidRequestError,
    MalformedBodyError,
    ModelAmbiguousError,
    NoModelError,
    NoSuchProfileError,
    NotFoundError,
    OverloadedError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.jobs.routes import Writer
from api.jobs.schemas import ItemErrorOut, Options, Overrides
from api.profiles.preview_schemas import (
    PROFILE_PREVIEW_EXAMPLE,
    PreviewedText,
    ProfilePreviewIn,
    ProfilePreviewOut,
    TokenRewardsOut,
    Variant,
)
from api.profiles.schemas import UserId
from api.settings import Settings
from api.streams.passing_jobs import ends, passing
from api.submissions.inspection import Inspection
from api.submissions.item_rows import as_user_turn
from api.submissions.item_source import Candidate, Place, ReadOptions
from api.submissions.submission import StoredJob, accept, model_of
from db.queries.models import RegisteredModel
from db.queries.profiles import PinnedProfile, resolve_profiles
from db.queries.results import ResultRow, read_results, read_token_rewards
from db.session import Database
from domain.json_values import JsonObject
from domain.priorities import Priority

NOBODY = PinnedProfile("", 0, {})
OWN_FIELDS = frozenset(Overrides.model_fields)

router = APIRouter(
    tags=["profiles"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)
_DOCUMENTED = {
    "responses": responses(
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        ModelAmbiguousError,
        NoModelError,
        OverloadedError,
        TooManyRequestsError,
        NotFoundError,
    ),
    "openapi_extra": request_body(
        {"$ref": "#/components/schemas/ProfilePreviewIn"}, JSON, example=PROFILE_PREVIEW_EXAMPLE
    ),
}
Body = Annotated[ProfilePreviewIn, Depends(json_body(ProfilePreviewIn))]


@dataclass(frozen=True, slots=True)
class VariantItems:
    """A preview as a job of its own, one item per variant. All have one seed: what differs is the setting."""

    head: ReadOptions
    profile: PinnedProfile
    body: ProfilePreviewIn

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """One item per variant, in the order of the variants."""
        del session, tenant_id
        body = self.body
        messages: list[JsonObject] = [turn.model_dump() for turn in body.messages or ()]
        messages = messages or [as_user_turn(body.prompt or "")]
        pointer = "/messages" if body.prompt is None else "/prompt"
        for number, variant in enumerate(body.variants):
            inspection.count_row()
            yield Candidate(str(number), self.profile, messages, Place(), pointer, _own(body, variant))


@router.post("/v1/profiles/{user_id}/preview", summary="Preview a profile", **_DOCUMENTED)  # type: ignore[arg-type]  # keywords of several types
async def preview_profile(
    user_id: UserId, request: Request, caller: Writer, services: ServicesDep, body: Body
) -> ProfilePreviewOut:
    """Write one prompt for one user under several settings, at once; with `token_rewards`, what guided each token.

    Texts are written ahead of your jobs, and waited for. Nothing of it is kept.
    """
    return await previewed(request, caller, services, user_id, body)


@router.post("/v1/preview", summary="Preview a preference", **_DOCUMENTED)  # type: ignore[arg-type]  # as above
async def preview_preference(request: Request, caller: Writer, services: ServicesDep, body: Body) -> ProfilePreviewOut:
    """The same for nobody: the preference is what the body says."""
    return await previewed(request, caller, services, None, body)


async def previewed(
    request: Request, caller: Caller, services: Services, user_id: str | None, body: ProfilePreviewIn
) -> ProfilePreviewOut:
    """The texts of a preview, as far as they were written in time; raises what is wrong with it."""
    if user_id is not None and not caller.may(Scope.PROFILES_READ):
        raise ForbiddenError(f"This API key lacks the scope `{Scope.PROFILES_READ}`: a preview shows profiles.")
    async with services.lanes.light.slot(caller.tenant_id):
        items, model = await run_in_threadpool(_items, services.database, caller.tenant_id, user_id, body)
        stored = await run_in_threadpool(_store, services.settings, services.database, caller.tenant_id, items)
    rows: Mapping[int, ResultRow] = {}
    rewards: Mapping[int, JsonObject] = {}
    async with passing(services, stored) as job_id:
        if model.is_ready:
            await ends(request, services, job_id, seconds=body.wait_seconds)
            rows, rewards = await run_in_threadpool(_results, services.database, job_id, len(body.variants))
    otherwise = NOT_IN_TIME if model.is_ready else NO_WORKER
    data = [
        _text(variant, rows.get(number), rewards.get(number), otherwise) for number, variant in enumerate(body.variants)
    ]
    return ProfilePreviewOut(
        user_id=user_id,
        profile_version=items.profile.version or None,
        model=model.name,
        complete=all(each.error is None for each in data),
        data=data,
    )


def _own(body: ProfilePreviewIn, variant: Variant) -> Overrides:
    """The overrides of one variant's item: what the variant says, else the body; seed 0 where neither does."""
    said = {name: getattr(body, name) for name in OWN_FIELDS & body.model_fields_set}
    said |= {name: getattr(variant, name) for name in variant.model_fields_set if getattr(variant, name) is not None}
    said.setdefault("seed", 0)
    return Overrides.model_construct(_fields_set=set(said), **said)


def _items(
    database: Database, tenant_id: uuid.UUID, user_id: str | None, body: ProfilePreviewIn
) -> tuple[VariantItems, RegisteredModel]:
    options = Options.model_construct(model=body.model, priority=Priority.INTERACTIVE)
    head = ReadOptions(options, token_rewards=body.shows_tokens, given=body.text)
    with database.reading() as session:
        profile = NOBODY if user_id is None else resolve_profiles(session, tenant_id, [user_id]).get(user_id)
        if profile is None:
            raise NoSuchProfileError
        items = VariantItems(head, profile, body)
        return items, model_of(session, items)


def _store(settings: Settings, database: Database, tenant_id: uuid.UUID, items: VariantItems) -> StoredJob:
    stored = accept(settings, database, tenant_id, items, None, is_announced=False).stored
    if stored is None:
        raise UnavailableError
    return stored


def _results(
    database: Database, job_id: uuid.UUID, num_items: int
) -> tuple[dict[int, ResultRow], dict[int, JsonObject]]:
    positions = range(num_items)
    with database.reading() as session:
        rows = read_results(session, job_id=job_id, positions=positions)
        return {row.position: row for row in rows}, read_token_rewards(session, job_id=job_id, positions=positions)


def _text(
    variant: Variant, row: ResultRow | None, rewards: JsonObject | None, otherwise: ItemErrorOut
) -> PreviewedText:
    error = otherwise if row is None else None
    if row is not None and row.error_code is not None:
        error = ItemErrorOut(code=row.error_code, message=row.error_message or "")
    return PreviewedText(
        method=variant.method,
        strength=variant.strength,
        max_kl=variant.max_kl,
        text=row and row.text,
        finish_reason=row and row.finish_reason,
        reward=row and row.reward,
        kl=row and row.kl,
        token_rewards=None if rewards is None else TokenRewardsOut.model_validate(rewards),
        error=error,
    )
