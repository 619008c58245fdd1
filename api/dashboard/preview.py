"""The preview of a profile: one prompt unguided, asked for, and guided at several strengths, each with its tokens.

The page asks for each text by itself, all at once, so that each is shown as soon as it is there. A browser without
scripts gets them together.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from api.dashboard.form_values import number_in, text_of, whole_number_in
from api.dashboard.model_names import model_names
from api.dashboard.profiles import find
from api.dashboard.rendering import PageRoute, is_of_script, page
from api.dashboard.sessions import Form, JobsWriter, ProfilesReader, Viewer
from api.dashboard.token_view import SHADES, token_view
from api.http.dependencies import Services, ServicesDep
from api.http.errors import ApiError, InvalidRequestError, LineError, NoSuchProfileError, line_errors
from api.profiles.preview_schemas import PreviewedText, ProfilePreviewIn
from api.profiles.previews import previewed
from api.profiles.schemas import UserId
from api.submissions.model_choice import known_methods
from domain.preferences import METHODS_WITH_STRENGTH, Method

USUAL_STRENGTHS = "0.5, 1, 2"
USUAL_TOKENS = 64
MAX_STRENGTHS = 5
WAIT_SECONDS = 120

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Tried:
    """One of the texts of a page, and what is sent to have it written."""

    number: int
    title: str
    fields: dict[str, str]


@router.get("/profiles/{user_id}/preview")
def preview_page(request: Request, user_id: UserId, viewer: ProfilesReader, services: ServicesDep) -> Response:
    """Where to type a prompt."""
    return _page(request, services, viewer, user_id, Shown({}))


@router.post("/profiles/{user_id}/preview")
async def begin(request: Request, user_id: UserId, viewer: JobsWriter, services: ServicesDep, fields: Form) -> Response:
    """The places of all texts, each of which asks for its own; without a script the page with all texts."""
    error: ApiError | None = None
    tried: Sequence[Tried] = ()
    try:
        tried = tries(fields)
    except ApiError as raised:
        error = raised
    if is_of_script(request):
        shown: dict[str, Any] = {"error": error, "tried": tried, "written": {}}
        return page(request, "preview_texts.html", viewer=viewer, user_id=user_id, **shown)
    texts = await asyncio.gather(
        *(
            _written(request, services, viewer, user_id, FormData({**each.fields, "number": str(each.number)}))
            for each in tried
        )
    )
    given = {name: value for name, value in fields.items() if isinstance(value, str)}
    found = Shown(given, tried, {each.number: written for each, written in zip(tried, texts, strict=True)}, error)
    return await run_in_threadpool(_page, request, services, viewer, user_id, found)


@router.post("/profiles/{user_id}/preview/text")
async def text(request: Request, user_id: UserId, viewer: JobsWriter, services: ServicesDep, fields: Form) -> Response:
    """One text with what guided each of its tokens; without a script on a page of its own."""
    written = await _written(request, services, viewer, user_id, fields)
    if is_of_script(request):
        return await run_in_threadpool(page, request, "preview_text.html", viewer=viewer, user_id=user_id, **written)
    only = Tried(0, "As the profile's guidance sees it", {})
    found = Shown(dict(written["given"]), [only], {0: written})
    return await run_in_threadpool(_page, request, services, viewer, user_id, found)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows: the form as it was filled in, and the texts that are there."""

    given: Mapping[str, str]
    tried: Sequence[Tried] = ()
    written: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """By the number of what was tried; one that is not there is asked for by the page's script."""
    error: ApiError | None = None


def _page(request: Request, services: Services, viewer: Viewer, user_id: str, shown: Shown) -> Response:
    stored = find(services, viewer, user_id)
    if stored is None:
        raise NoSuchProfileError
    known = known_methods(services.database)
    return page(
        request,
        "preview.html",
        viewer=viewer,
        section="profiles",
        status_code=200 if shown.error is None else shown.error.status,
        user_id=user_id,
        profile=stored,
        models=model_names(services),
        methods=[method for method in Method if method in known & METHODS_WITH_STRENGTH],
        given={"strengths": USUAL_STRENGTHS, "max_tokens": USUAL_TOKENS, **shown.given},
        shades=SHADES,
        tried=shown.tried,
        written=shown.written,
        error=shown.error,
    )


async def _written(
    request: Request, services: Services, viewer: Viewer, user_id: str, fields: FormData
) -> dict[str, Any]:
    """What `preview_text.html` shows of one text, which is written or read now."""
    error: ApiError | None = None
    found: PreviewedText | None = None
    try:
        body = preview_body(fields)
        (found,) = (await previewed(request, viewer.caller, services, user_id, body)).data
    except ApiError as raised:
        error = raised
    number = str(fields.get("number") or "0")
    return {
        "found": found,
        "view": token_view(found.token_rewards) if found is not None and found.token_rewards is not None else None,
        "error": error,
        "number": number if number.isdecimal() else "0",
        "given": {name: value for name, value in fields.items() if isinstance(value, str) and name != "csrf"},
        "is_own": fields.get("read") != "1",
    }


def tries(fields: FormData) -> list[Tried]:
    """Unguided, asked for, and guided at each of the strengths. Raises InvalidRequestError."""
    strengths = _strengths(str(fields.get("strengths") or ""))
    names = ("prompt", "max_tokens", "model")
    same = {name: value for name in names if (value := str(fields.get(name) or "").strip())}
    preview_body(FormData(same))
    method = str(fields.get("method") or "")
    guided = {"method": method} if method in METHODS_WITH_STRENGTH else {}
    settings: list[tuple[str, dict[str, str]]] = [
        ("Unguided", {"method": "none"}),
        ("Only asked for", {"method": "prompt"}),
        *((f"Guided, strength {strength}", {**guided, "strength": strength}) for strength in strengths),
    ]
    return [Tried(number, title, {**same, **own}) for number, (title, own) in enumerate(settings)]


def preview_body(fields: FormData) -> ProfilePreviewIn:
    """The body that the API takes for one text, from the fields of its form. Raises InvalidRequestError."""
    errors: list[LineError] = []
    variant = {
        "method": _given(fields, "method"),
        "strength": number_in(text_of(fields, "strength"), "/strength", errors),
        "max_kl": number_in(text_of(fields, "max_kl"), "/max_kl", errors),
    }
    body: dict[str, Any] = {
        "prompt": str(fields.get("prompt") or "").replace("\r\n", "\n"),
        "model": _given(fields, "model"),
        "text": _given(fields, "text"),
        "max_tokens": whole_number_in(text_of(fields, "max_tokens"), "/max_tokens", errors),
        "variants": [{name: value for name, value in variant.items() if value is not None}],
        "token_rewards": True,
        "wait_seconds": WAIT_SECONDS,
    }
    if errors:
        raise InvalidRequestError(errors=errors)
    try:
        return ProfilePreviewIn.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        raise InvalidRequestError(errors=line_errors(error)) from None


def _strengths(given: str) -> Sequence[str]:
    parts = list(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))
    if len(parts) > MAX_STRENGTHS:
        message = f"At most {MAX_STRENGTHS} strengths are shown beside one another."
        raise InvalidRequestError(errors=[LineError("too_many_strengths", message, "/strengths")])
    for part in parts:
        preview_body(FormData({"prompt": "-", "strength": part}))
    return parts


def _given(fields: FormData, name: str) -> str | None:
    return text_of(fields, name) or None
