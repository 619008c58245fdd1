"""Strength and budget: how a model's were chosen, and what the strength does to three texts as a slider moves."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from api.dashboard.charts import Scatter, scatter
from api.dashboard.form_values import finite, text_of
from api.dashboard.rendering import PageRoute, is_of_script, page
from api.dashboard.sessions import Form, JobsWriter, Viewer
from api.http.dependencies import Scope, Services, ServicesDep
from api.http.errors import ApiError, InvalidRequestError, LineError, line_errors
from api.profiles.preview_schemas import PreviewedText, ProfilePreviewIn
from api.profiles.previews import previewed
from api.profiles.schemas import check_user_id
from db.queries.models import RegisteredModel, list_models
from db.queries.profiles import list_profiles
from domain.preferences import MAX_STRENGTH

STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
NUM_PROMPTS = 3
USERS_OFFERED = 20
TOKENS = 48
WAIT_SECONDS = 180
USUAL_PROMPTS = (
    "Write two sentences about a cup of tea.",
    "Invite a friend to a walk on Sunday.",
    "Explain in a few words why the sky is blue.",
)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A model's way to guide, and what was tried before it was chosen."""

    model: RegisteredModel
    by: str
    reason: str
    chosen: str
    trials: Sequence[dict[str, Any]]
    plot: Scatter | None


@router.get("/strength")
def strength_page(
    request: Request,
    viewer: JobsWriter,
    services: ServicesDep,
    model: Annotated[str, Query(max_length=256)] = "",
) -> Response:
    """How the strength of a model was chosen, and where to try others."""
    return _page(request, services, viewer, model, None)


@dataclass(frozen=True, slots=True)
class Slides:
    """Prompts whose texts are shown, and for whom; `error` says why none is."""

    prompts: Sequence[str]
    given: dict[str, str]
    error: ApiError | None = None
    written: Sequence[dict[str, Any]] = ()
    """What `strength_text.html` shows of each prompt; those that are missing are asked for by the page's script."""

    @property
    def strengths(self) -> Sequence[float]:
        """The strengths that the slider can stand at, in order."""
        return strengths_with(self.given["own"])

    @property
    def first(self) -> int:
        """Where it stands first: at the model's own strength, as its place among them."""
        own = finite(self.given["own"])
        return self.strengths.index(own) if own in self.strengths else STRENGTHS.index(1.0)


@router.post("/strength/texts")
async def begin(request: Request, viewer: JobsWriter, services: ServicesDep, fields: Form) -> Response:
    """A place for the texts of each prompt, which asks for its own; without a script the page with all texts."""
    slides = _slides(fields)
    if is_of_script(request):
        return page(request, "strength_texts.html", viewer=viewer, slides=slides)
    asked = [FormData({**slides.given, "prompt": prompt}) for prompt in slides.prompts]
    written = await asyncio.gather(*(_written(request, services, viewer, each) for each in asked))
    found = replace(slides, written=written)
    return await run_in_threadpool(_page, request, services, viewer, slides.given["model"], found)


@router.post("/strength/text")
async def texts(request: Request, viewer: JobsWriter, services: ServicesDep, fields: Form) -> Response:
    """The texts for one prompt at every strength."""
    written = await _written(request, services, viewer, fields)
    return await run_in_threadpool(
        page, request, "strength_text.html", viewer=viewer, first=_slides(fields).first, **written
    )


def strengths_with(own: str) -> Sequence[float]:
    """The strengths that are tried, with a model's own where that is one."""
    strength = finite(own)
    if strength is None or strength in STRENGTHS or not 0 <= strength <= MAX_STRENGTH:
        return STRENGTHS
    return sorted((*STRENGTHS, strength))


def _slides(fields: FormData) -> Slides:
    prompts = [text for value in fields.getlist("prompt") if (text := str(value).strip())][:NUM_PROMPTS]
    given = {name: text_of(fields, name) for name in ("user_id", "model", "own")}
    try:
        check_user_id(given["user_id"])
    except ValueError as error:
        return Slides((), given, InvalidRequestError(errors=[LineError("user_id", str(error), "/user_id")]))
    return Slides(prompts, given)


async def _written(request: Request, services: Services, viewer: Viewer, fields: FormData) -> dict[str, Any]:
    error: ApiError | None = None
    data: Sequence[PreviewedText] = ()
    body = {
        "prompt": str(fields.get("prompt") or ""),
        "model": str(fields.get("model") or "") or None,
        "variants": [{"strength": strength} for strength in strengths_with(text_of(fields, "own"))],
        "max_tokens": TOKENS,
        "wait_seconds": WAIT_SECONDS,
    }
    try:
        asked = ProfilePreviewIn.model_validate({name: value for name, value in body.items() if value is not None})
        user_id = str(fields.get("user_id") or "")
        data = (await previewed(request, viewer.caller, services, user_id, asked)).data
    except ValidationError as raised:
        error = InvalidRequestError(errors=line_errors(raised))
    except ApiError as raised:
        error = raised
    return {"data": data, "error": error}


def _page(request: Request, services: Services, viewer: Viewer, model: str, slides: Slides | None) -> Response:
    known, users = _looked(services, viewer)
    found = next((each for each in known if model in {each.reference, each.name}), known[0] if known else None)
    return page(
        request,
        "strength.html",
        viewer=viewer,
        section="strength",
        models=known,
        calibrated=None if found is None else calibrated(found),
        num_strengths=len(strengths_with("" if found is None else f"{found.description.strength:g}")),
        prompts=slides.prompts if slides is not None and slides.prompts else USUAL_PROMPTS,
        users=users,
        slides=slides,
    )


def calibrated(model: RegisteredModel) -> Calibrated:
    """What a model's card says of its strength, as far as there is a card."""
    card: Any = model.description.card or {}
    told: Any = card.get("chosen") or {}
    trials: Any = told.get("trials") or []
    reason = str(told.get("reason") or told.get("why") or "")
    chosen = _chosen(model)
    tried = [
        (str(each["setting"]), float(each["kl"] or 0), float(each["log_odds"]))
        for each in trials
        if isinstance(each, dict) and {"setting", "kl", "log_odds"} <= each.keys()
    ]
    return Calibrated(
        model, str(told.get("by") or ""), reason, chosen, trials, scatter(tried, chosen) if tried else None
    )


def _chosen(model: RegisteredModel) -> str:
    """The name that calibration gives the model's own setting."""
    own = model.description
    strength = f", strength {own.strength:g}" if own.strength else ""
    budget = "" if own.max_kl is None else f", max_kl {own.max_kl:g}"
    return f"{own.default_method}, {own.format}{strength}{budget}"


def _looked(services: Services, viewer: Viewer) -> tuple[list[RegisteredModel], list[str]]:
    """The models, those that are served first, and some users to try, as far as the key may see them."""
    with services.database.reading() as session:
        models = sorted(list_models(session), key=lambda model: (not model.is_ready, model.name))
        if not viewer.may(Scope.PROFILES_READ):
            return models, []
        found = list_profiles(session, viewer.caller.tenant_id, limit=USERS_OFFERED)
        return models, [profile.user_id for profile in found]
