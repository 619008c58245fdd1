"""A profile's versions: which there is now, what each changed, and an earlier one written again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dashboard.live import Part, live_part
from api.dashboard.profile_forms import Difference, differences
from api.dashboard.profiles import find, path_of, put
from api.dashboard.rendering import PageRoute, page, render, see_other
from api.dashboard.sessions import Form, ProfilesReader, ProfilesWriter
from api.http.bounds import Version
from api.http.dependencies import ServicesDep
from api.http.errors import InvalidRequestError, NoSuchProfileError
from api.profiles import routes as profiles
from api.profiles.schemas import ProfileBody, UserId, etag
from db.queries import profiles as stored_profiles
from db.queries.changes import Learning
from db.queries.profiles import StoredProfile

VERSIONS_PER_PAGE = 20

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Change:
    """A version, and how it differs from the one before."""

    version: StoredProfile
    differences: Sequence[Difference]
    is_first: bool


@router.get("/profiles/{user_id}/history")
def history(
    request: Request,
    user_id: UserId,
    viewer: ProfilesReader,
    services: ServicesDep,
    after: Annotated[Version | None, Query()] = None,
) -> Response:
    """Every version with what it changed, the newest first."""
    with services.database.reading() as session:
        stored = stored_profiles.find_profile(session, viewer.caller.tenant_id, user_id)
        if stored is None:
            raise NoSuchProfileError
        found = stored_profiles.list_versions(
            session, viewer.caller.tenant_id, user_id, before=after, limit=VERSIONS_PER_PAGE + 1
        )
    befores = [*found[1:], None]
    changes = [
        Change(version, differences(before.body if before else {}, version.body), is_first=before is None)
        for version, before in zip(found[:VERSIONS_PER_PAGE], befores, strict=False)
    ]
    more = found[VERSIONS_PER_PAGE - 1].version if len(found) > VERSIONS_PER_PAGE else None
    shown: dict[str, Any] = {"profile": stored, "changes": changes, "more": more, "etag": etag(stored)}
    return page(request, "profile_history.html", viewer=viewer, section="profiles", user_id=user_id, **shown)


@router.post("/profiles/{user_id}/restore")
async def restore(
    request: Request, user_id: UserId, viewer: ProfilesWriter, services: ServicesDep, fields: Form
) -> Response:
    """Write an earlier version again, as the newest."""
    number = str(fields.get("version") or "")
    if not number.isdecimal():
        raise InvalidRequestError
    before = await run_in_threadpool(profiles.read_version, user_id, int(number), viewer.caller, services, Response())
    body = ProfileBody.model_validate(
        {**before.model_dump(include=set(ProfileBody.model_fields)), "method": before.method}
    )
    await run_in_threadpool(put, services, viewer, user_id, body, str(fields.get("etag") or ""))
    return see_other(request, f"{path_of(user_id)}/history")


@router.get("/profiles/{user_id}/live/head")
async def head_live(
    request: Request,
    user_id: UserId,
    viewer: ProfilesReader,
    services: ServicesDep,
    shown: Annotated[Version | None, Query()] = None,
    seen: Annotated[str | None, Query(max_length=32)] = None,
) -> Response:
    """Which version there is now, beside the one that the page was `shown` with."""

    def look() -> Part:
        stored = find(services, viewer, user_id)
        if stored is None:
            raise NoSuchProfileError
        html = render(request, "profile_head.html", viewer=viewer, profile=stored, shown=shown)
        return Part(html, {Learning(viewer.caller.tenant_id, user_id)})

    return await live_part(request, viewer, partial(run_in_threadpool, look), seen)
