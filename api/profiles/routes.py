"""Profiles over HTTP: read, list, write, remove. Every write is conditional, and safe to repeat."""

from collections.abc import Callable, Container
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Response

from api.http.addresses import RootPath
from api.http.bodies import JSON, MERGE_PATCH, json_body, json_value, request_body, validated
from api.http.bounds import Version
from api.http.dependencies import Caller, Scope, ServicesDep, require
from api.http.errors import (
    BodyTooLargeError,
    ForbiddenError,
    InvalidRequestError,
    MalformedBodyError,
    NoSuchProfileError,
    NoSuchVersionError,
    NotFoundError,
    PolicyRequiredError,
    PreconditionFailedError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.http.etags import Preconditions, preconditions
from api.http.merge_patch import merge_patch
from api.profiles.schemas import (
    PROFILE_EXAMPLE,
    ProfileBody,
    ProfilePage,
    ProfileResource,
    Tag,
    UserId,
    VersionPage,
    etag,
    resource,
)
from api.submissions.model_choice import known_methods
from db.queries import profiles
from db.queries.profiles import StoredProfile
from domain.json_values import JsonObject
from domain.preferences import METHODS_WITH_POLICY, Method, digest

WRITE_ATTEMPTS = 5

router = APIRouter(
    tags=["profiles"], responses=responses(UnauthorizedError, ForbiddenError, InvalidRequestError, UnavailableError)
)
Reader = Annotated[Caller, Depends(require(Scope.PROFILES_READ))]
Writer = Annotated[Caller, Depends(require(Scope.PROFILES_WRITE))]
Conditions = Annotated[Preconditions, Depends(preconditions)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Entries per page.")]
TagFilter = Annotated[list[Tag], Query(description="Only profiles with any of these tags.")]
BODY_SCHEMA = {"$ref": "#/components/schemas/ProfileBody"}
BODY_ERRORS = (
    MalformedBodyError,
    BodyTooLargeError,
    UnsupportedMediaTypeError,
    InvalidRequestError,
    PolicyRequiredError,
    TooManyRequestsError,
)


@router.get(
    "/v1/profiles/{user_id}",
    summary="Read a profile",
    response_model=ProfileResource,
    responses=responses(NotFoundError),
)
def read_profile(
    user_id: UserId, caller: Reader, services: ServicesDep, conditions: Conditions, response: Response
) -> ProfileResource | Response:
    """The newest version. With `If-None-Match`, 304 while it is the one you have."""
    with services.database.reading() as session:
        stored = profiles.find_profile(session, caller.tenant_id, user_id)
    if stored is None:
        raise NoSuchProfileError
    response.headers["ETag"] = etag(stored)
    if conditions.not_modified(etag(stored)):
        return Response(status_code=304, headers={"ETag": etag(stored)})
    return resource(stored)


@router.put(
    "/v1/profiles/{user_id}",
    summary="Create or replace a profile",
    responses={201: {"model": ProfileResource}, **responses(PreconditionFailedError, *BODY_ERRORS)},
    openapi_extra=request_body(BODY_SCHEMA, JSON, example=PROFILE_EXAMPLE),
)
def put_profile(
    *,
    user_id: UserId,
    caller: Writer,
    services: ServicesDep,
    conditions: Conditions,
    body: Annotated[ProfileBody, Depends(json_body(ProfileBody))],
    response: Response,
    root: RootPath = "",
) -> ProfileResource:
    """Store the whole profile. What equals the stored state makes no version, and answers 200 whatever was expected.

    What is left out is as in a new profile, consent and learnt weights included: to change parts, patch or import.
    """
    require_policy(body.method, known_methods(services.database))
    written, created = _write(services, caller, user_id, conditions, lambda _: body.canonical())
    response.headers["ETag"] = etag(written)
    if created:
        response.status_code = 201
        response.headers["Location"] = f"{root}/v1/profiles/{quote(user_id, safe='')}"
    return resource(written)


@router.patch(
    "/v1/profiles/{user_id}",
    summary="Change parts of a profile",
    responses=responses(NotFoundError, PreconditionFailedError, *BODY_ERRORS),
    openapi_extra=request_body(BODY_SCHEMA, MERGE_PATCH, JSON, example={"strength": 0.8, "attributes": {"city": None}}),
)
def patch_profile(
    *,
    user_id: UserId,
    caller: Writer,
    services: ServicesDep,
    conditions: Conditions,
    patch: Annotated[object, Depends(json_value(MERGE_PATCH, JSON))],
    response: Response,
) -> ProfileResource:
    """Merge the patch into the profile (RFC 7396): null removes, lists are replaced. The result is checked whole."""

    def change(stored: StoredProfile | None) -> JsonObject:
        if stored is None:
            raise NoSuchProfileError
        merged = validated(ProfileBody, merge_patch(stored.body, patch))
        require_policy(merged.method, known_methods(services.database))
        return merged.canonical()

    written, _ = _write(services, caller, user_id, conditions, change)
    response.headers["ETag"] = etag(written)
    return resource(written)


@router.delete(
    "/v1/profiles/{user_id}",
    summary="Remove a profile",
    status_code=204,
    responses=responses(NotFoundError, PreconditionFailedError),
)
def delete_profile(user_id: UserId, caller: Writer, services: ServicesDep, conditions: Conditions) -> None:
    """Remove the profile and all its versions. Jobs that were submitted before keep what they were pinned to."""
    with services.database.transaction() as session:
        stored = profiles.find_profile(session, caller.tenant_id, user_id, for_update=True)
        if stored is None:
            raise NoSuchProfileError
        if not conditions.hold_for(etag(stored)):
            raise PreconditionFailedError
        profiles.delete_profile(session, caller.tenant_id, stored)


@router.get("/v1/profiles", summary="List profiles")
def list_profiles(
    caller: Reader,
    services: ServicesDep,
    tag: TagFilter = [],  # noqa: B006 - FastAPI copies defaults
    after: Annotated[UserId | None, Query(description="The `last_id` of the page before.")] = None,
    limit: Limit = 100,
) -> ProfilePage:
    """Profiles by user id."""
    with services.database.reading() as session:
        found = profiles.list_profiles(session, caller.tenant_id, tags=tag, after=after, limit=limit + 1)
    page = found[:limit]
    return ProfilePage(
        data=[resource(profile) for profile in page],
        first_id=page[0].user_id if page else None,
        last_id=page[-1].user_id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/profiles/{user_id}/versions", summary="List versions", responses=responses(NotFoundError))
def list_versions(
    user_id: UserId,
    caller: Reader,
    services: ServicesDep,
    after: Annotated[Version | None, Query(description="The `last_id` of the page before.")] = None,
    limit: Limit = 20,
) -> VersionPage:
    """Every version there was, the newest first."""
    with services.database.reading() as session:
        if profiles.find_profile(session, caller.tenant_id, user_id) is None:
            raise NoSuchProfileError
        found = profiles.list_versions(session, caller.tenant_id, user_id, before=after, limit=limit + 1)
    page = found[:limit]
    return VersionPage(
        data=[resource(profile) for profile in page],
        first_id=page[0].version if page else None,
        last_id=page[-1].version if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/profiles/{user_id}/versions/{version}", summary="Read a version", responses=responses(NotFoundError))
def read_version(
    user_id: UserId,
    version: Version,
    caller: Reader,
    services: ServicesDep,
    response: Response,
) -> ProfileResource:
    """One version, as it was written."""
    with services.database.reading() as session:
        stored = profiles.find_version(session, caller.tenant_id, user_id, version)
    if stored is None:
        raise NoSuchVersionError
    response.headers["ETag"] = etag(stored)
    return resource(stored)


def require_policy(method: Method | None, known: Container[Method]) -> None:
    """Refuse, with `PolicyRequiredError`, a method that no model here has a policy for."""
    if method in METHODS_WITH_POLICY and method not in known:
        raise PolicyRequiredError(
            "No model here has a policy: use `contrast` or `prompt`, or serve one with PADSERVE_POLICY.", param="method"
        )


def _write(
    services: ServicesDep,
    caller: Caller,
    user_id: str,
    conditions: Preconditions,
    change: Callable[[StoredProfile | None], JsonObject],
) -> tuple[StoredProfile, bool]:
    """Store what `change` makes of the present state; the profile, and whether this created it.

    Equal states are no write, even where a precondition fails: a client that repeats a write because the answer got
    lost must not be told that somebody else came first.
    """
    for _ in range(WRITE_ATTEMPTS):
        with services.database.transaction() as session:
            stored = profiles.find_profile(session, caller.tenant_id, user_id, for_update=True)
            body = change(stored)
            if stored is not None and stored.digest == digest(body):
                return stored, False
            if not conditions.hold_for(etag(stored) if stored else None):
                raise PreconditionFailedError
            if stored is None:
                written = profiles.create_profile(session, caller.tenant_id, user_id, body)
            else:
                written = profiles.update_profile(session, caller.tenant_id, stored, body)
        if written is not None:
            return written, stored is None
    raise UnavailableError("Other writers of this profile keep coming first.")
