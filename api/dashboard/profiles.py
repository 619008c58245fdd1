"""Profiles: the list and the editor. Versions, previews and feedback have files of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from api.dashboard.form_values import text_of
from api.dashboard.profile_forms import (
    Difference,
    ProfileForm,
    body_as_sent,
    differences,
    form_as_sent,
    form_of_body,
    stored_metadata,
)
from api.dashboard.rendering import PageRoute, page, see_other
from api.dashboard.sessions import Form, ProfilesReader, ProfilesWriter, Viewer
from api.http.dependencies import Services, ServicesDep
from api.http.errors import ApiError, InvalidRequestError, LineError, PreconditionFailedError
from api.http.etags import Preconditions
from api.profiles import routes as profiles
from api.profiles.schemas import (
    MAX_PRINCIPLES,
    MAX_USER_ID_CHARACTERS,
    ProfileBody,
    ProfileResource,
    UserId,
    check_user_id,
    etag,
)
from api.submissions.model_choice import known_methods
from db.queries import profile_pages
from db.queries import profiles as stored_profiles
from db.queries.profiles import StoredProfile
from domain.preferences import Method

PROFILES_PER_PAGE = 50
TAGS_SHOWN = 30
MAX_TAG_CHARACTERS = 64

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which profiles a page shows."""

    find: str
    tag: str
    after: str | None


def wanted(
    find: Annotated[str, Query(max_length=MAX_USER_ID_CHARACTERS)] = "",
    tag: Annotated[str, Query(max_length=MAX_TAG_CHARACTERS)] = "",
    after: Annotated[str | None, Query(max_length=MAX_USER_ID_CHARACTERS)] = None,
) -> Wanted:
    """A dependency: what the address asks for."""
    return Wanted(find.strip(), tag, after)


@dataclass(frozen=True, slots=True)
class Edited:
    """A user's profile as it is stored, and the form as it is to be shown."""

    user_id: str
    stored: StoredProfile | None
    form: ProfileForm


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list."""

    profiles: Sequence[StoredProfile]
    has_more: bool
    num_profiles: int
    tags: Sequence[str]


@router.get("/profiles")
def profiles_page(
    request: Request,
    viewer: ProfilesReader,
    services: ServicesDep,
    asked: Annotated[Wanted, Depends(wanted)],
) -> Response:
    """The profiles by user id, as far as they are looked for."""
    return _list_page(request, services, viewer, asked)


def _list_page(
    request: Request,
    services: Services,
    viewer: Viewer,
    asked: Wanted,
    *,
    wrong: ApiError | None = None,
    given: str = "",
) -> Response:
    """The list; `wrong` says why there is no profile for the user id that was `given`."""
    listed = _listed(services, viewer, asked)
    more = ""
    if listed.has_more:
        more = urlencode({"find": asked.find, "tag": asked.tag, "after": listed.profiles[-1].user_id})
    shown: dict[str, Any] = {"listed": listed, "find": asked.find, "tag": asked.tag, "more": more, "error": wrong}
    status_code = 200 if wrong is None else wrong.status
    return page(
        request, "profiles.html", viewer=viewer, section="profiles", status_code=status_code, given=given, **shown
    )


@router.post("/profiles")
def open_profile(request: Request, viewer: ProfilesWriter, services: ServicesDep, fields: Form) -> Response:
    """Go to the editor of a user who may have no profile yet."""
    given = text_of(fields, "user_id")
    try:
        return see_other(request, path_of(check_user_id(given)))
    except ValueError as error:
        wrong = InvalidRequestError(errors=[LineError("user_id", str(error), "/user_id")])
        return _list_page(request, services, viewer, Wanted("", "", None), wrong=wrong, given=given)


@router.get("/profiles/{user_id}")
def editor(request: Request, user_id: UserId, viewer: ProfilesReader, services: ServicesDep) -> Response:
    """The profile as a form; an empty one where the user has none."""
    stored = find(services, viewer, user_id)
    edited = Edited(user_id, stored, form_of_body(stored.body if stored else {}))
    return _editor(request, services, viewer, edited)


@router.post("/profiles/{user_id}")
async def save(
    request: Request, user_id: UserId, viewer: ProfilesWriter, services: ServicesDep, fields: Form
) -> Response:
    """Store the form, unless somebody else has changed the profile since it was opened: then both are shown."""
    return await run_in_threadpool(_save, request, services, viewer, user_id, fields)


@router.post("/profiles/{user_id}/erase")
async def erase(
    request: Request, user_id: UserId, viewer: ProfilesWriter, services: ServicesDep, fields: Form
) -> Response:
    """Remove the profile, its versions and its feedback, once the user id was typed."""
    if str(fields.get("confirm") or "").strip() != user_id:
        message = "To erase the profile, type its user id as it is written."
        raise InvalidRequestError(errors=[LineError("not_confirmed", message, "/confirm")])
    await run_in_threadpool(profiles.delete_profile, user_id, viewer.caller, services, Preconditions())
    return see_other(request, "/profiles")


def find(services: Services, viewer: Viewer, user_id: str) -> StoredProfile | None:
    """The newest version of a user's profile; None where there is none."""
    with services.database.reading() as session:
        return stored_profiles.find_profile(session, viewer.caller.tenant_id, user_id)


def path_of(user_id: str) -> str:
    """The path of the page of a user's profile."""
    return f"/profiles/{quote(user_id, safe='')}"


def _listed(services: Services, viewer: Viewer, asked: Wanted) -> Listed:
    tenant_id = viewer.caller.tenant_id
    with services.database.reading() as session:
        found = stored_profiles.list_profiles(
            session,
            tenant_id,
            tags=[asked.tag] if asked.tag else (),
            after=asked.after,
            limit=PROFILES_PER_PAGE + 1,
            containing=asked.find,
        )
        number = profile_pages.num_profiles(session, tenant_id)
        tags = profile_pages.frequent_tags(session, tenant_id, limit=TAGS_SHOWN)
    return Listed(found[:PROFILES_PER_PAGE], len(found) > PROFILES_PER_PAGE, number, tags)


def _save(request: Request, services: Services, viewer: Viewer, user_id: str, fields: FormData) -> Response:
    stored = find(services, viewer, user_id)
    form = form_as_sent(fields)
    try:
        body = body_as_sent(fields, stored_metadata(stored.body if stored else None))
        put(services, viewer, user_id, body, str(fields.get("etag") or ""))
    except PreconditionFailedError:
        stored = find(services, viewer, user_id)
        theirs = differences(body.canonical(), stored.body if stored else {})
        edited = Edited(user_id, stored, form)
        return _editor(request, services, viewer, edited, conflict=theirs)
    except ApiError as error:
        edited = Edited(user_id, stored, form)
        return _editor(request, services, viewer, edited, error=error)
    return see_other(request, f"{path_of(user_id)}?saved=1")


def put(services: Services, viewer: Viewer, user_id: str, body: ProfileBody, expected: str) -> ProfileResource:
    """Store a profile if its entity tag is still `expected`, empty for none; else raises PreconditionFailedError."""
    conditions = Preconditions(if_match=(expected,)) if expected else Preconditions(if_none_match=("*",))
    return profiles.put_profile(
        user_id=user_id,
        caller=viewer.caller,
        services=services,
        conditions=conditions,
        body=body,
        response=Response(),
    )


def _editor(
    request: Request,
    services: Services,
    viewer: Viewer,
    edited: Edited,
    *,
    error: ApiError | None = None,
    conflict: Sequence[Difference] | None = None,
) -> Response:
    known, stored, form = known_methods(services.database), edited.stored, edited.form
    return page(
        request,
        "profile.html",
        viewer=viewer,
        section="profiles",
        user_id=edited.user_id,
        profile=stored,
        etag=etag(stored) if stored else "",
        form=form,
        methods=[method for method in Method if method in known or method == form.method],
        most_principles=MAX_PRINCIPLES,
        error=error,
        conflict=conflict,
        is_saved=request.query_params.get("saved") == "1" and error is None and conflict is None,
    )
