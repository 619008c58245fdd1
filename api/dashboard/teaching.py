"""Teaching a profile: which of two texts a user prefers, asked so that the answer tells most, and what was learnt."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.dashboard.charts import Interval, intervals
from api.dashboard.form_values import text_of
from api.dashboard.live import Part, live_part
from api.dashboard.model_names import model_names
from api.dashboard.pair_choice import PRIOR_DEVIATION, ChosenPair, Weights, most_informative
from api.dashboard.profiles import find, path_of
from api.dashboard.rendering import PageRoute, is_of_script, page, render, see_other, version_of
from api.dashboard.sessions import Form, ProfilesReader, ProfilesWriter, Viewer
from api.http.dependencies import Scope, Services, ServicesDep
from api.http.errors import ApiError, ForbiddenError, InvalidRequestError, LineError, NoSuchProfileError, line_errors
from api.profiles import feedback
from api.profiles.feedback_schemas import FeedbackBody, FeedbackResource
from api.profiles.preview_schemas import ProfilePreviewIn
from api.profiles.previews import previewed
from api.profiles.schemas import UserId
from db.queries.changes import Learning
from db.queries.feedback import LEAST_PAIRS, LEAST_PRINCIPLES
from db.queries.profiles import StoredProfile
from domain.preferences import Method

MAX_ALONE = 4
"""Principles of which each has a text of its own."""
TEMPERATURE = 0.7
TOKENS = 80
WAIT_SECONDS = 120
MAX_CANDIDATES = 8

Seen = Annotated[str | None, Query(max_length=32)]

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Asking(BaseModel):
    """What the page carries along from one question to the next: the texts, and how each principle speaks for them."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(max_length=8000)
    model: str | None = None
    """The one that wrote the texts, as it was chosen: the weights are fitted by its judgement, too."""
    texts: list[Annotated[str, Field(max_length=8000)]] = Field(max_length=MAX_CANDIDATES)
    features: list[list[float]]
    asked: list[tuple[int, int]] = []

    def next_pair(self, weights: Weights) -> ChosenPair | None:
        """The pair that tells most and was not asked about."""
        return most_informative(self.features, weights, {frozenset(pair) for pair in self.asked})


@dataclass(frozen=True, slots=True)
class Question:
    """What a page asks; `error` says why it asks nothing, and no pair is left where all were asked about."""

    asking: Asking | None = None
    pair: ChosenPair | None = None
    told: FeedbackResource | None = None
    """Of the answer before."""
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known of a profile's weights."""

    feedback: FeedbackResource
    intervals: Sequence[Interval]
    agreement: float | None
    num_pairs: int | None
    is_open: bool
    """A fit waits, or is under way."""


@router.get("/profiles/{user_id}/teach")
def teach_page(request: Request, user_id: UserId, viewer: ProfilesReader, services: ServicesDep) -> Response:
    """What was learnt, and where to go on."""
    return _page(request, services, viewer, user_id)


@router.get("/profiles/{user_id}/teach/live")
async def learnt_live(
    request: Request, user_id: UserId, viewer: ProfilesReader, services: ServicesDep, seen: Seen = None
) -> Response:
    """What was learnt, when it has changed."""

    def looked() -> Part:
        stored, learnt = _learnt(services, viewer, user_id)
        shown: dict[str, Any] = {"profile": stored, "learnt": learnt, "least": LEAST_PAIRS}
        html = render(request, "teach_learnt.html", viewer=viewer, **shown)
        return Part(html, {Learning(viewer.caller.tenant_id, user_id)})

    return await live_part(request, viewer, partial(run_in_threadpool, looked), seen)


@router.post("/profiles/{user_id}/teach/texts")
async def write_texts(
    request: Request, user_id: UserId, viewer: ProfilesWriter, services: ServicesDep, fields: Form
) -> Response:
    """Write several texts for a prompt, and ask about the two that tell most."""
    try:
        if not viewer.may(Scope.JOBS_WRITE):
            raise ForbiddenError(f"The API key that you are signed in with lacks the scope `{Scope.JOBS_WRITE}`.")
        stored = await run_in_threadpool(_stored, services, viewer, user_id)
        prompt, model = text_of(fields, "prompt"), text_of(fields, "model") or None
        asking = await _candidates(request, services, viewer, stored, prompt, model)
    except ApiError as error:
        return await _answer(request, services, viewer, user_id, Question(error=error))
    return await _answer(request, services, viewer, user_id, question_of(stored, asking))


@router.post("/profiles/{user_id}/teach/choose")
async def choose(
    request: Request, user_id: UserId, viewer: ProfilesWriter, services: ServicesDep, fields: Form
) -> Response:
    """Keep which text was preferred, and ask about the next two."""
    try:
        asking = Asking.model_validate_json(str(fields.get("asking") or ""))
        first, second = int(str(fields.get("first"))), int(str(fields.get("second")))
        pair = asking.texts[first], asking.texts[second]
    except (ValidationError, ValueError, IndexError):
        raise InvalidRequestError from None
    told = None
    preferred = str(fields.get("preferred") or "")
    try:
        if preferred in {"first", "second"}:
            chosen, rejected = pair if preferred == "first" else pair[::-1]
            body = {
                "pairs": [{"prompt": asking.prompt, "chosen": chosen, "rejected": rejected}],
                "model": asking.model,
            }
            told = await run_in_threadpool(
                feedback.give_feedback, user_id, viewer.caller, services, FeedbackBody.model_validate(body)
            )
    except ApiError as error:
        return await _answer(request, services, viewer, user_id, Question(error=error))
    stored = await run_in_threadpool(_stored, services, viewer, user_id)
    asking = asking.model_copy(update={"asked": [*asking.asked, (first, second)]})
    response = await _answer(request, services, viewer, user_id, question_of(stored, asking, told))
    response.headers["HX-Trigger"] = "changed"
    return response


@router.post("/profiles/{user_id}/teach/withdraw")
async def withdraw(request: Request, user_id: UserId, viewer: ProfilesWriter, services: ServicesDep) -> Response:
    """Forget every pair and rating."""
    await run_in_threadpool(feedback.withdraw_feedback, user_id, viewer.caller, services)
    return see_other(request, f"{path_of(user_id)}/teach")


def weights_of(stored: StoredProfile) -> Weights:
    """The weights of a profile, with the deviations of the fit that wrote them; of stated ones, the prior's."""
    means = [weight for _, weight in _principles(stored)]
    deviations: Any = (stored.learned or {}).get("deviations")
    if not isinstance(deviations, list) or len(deviations) != len(means):
        return Weights(means, [PRIOR_DEVIATION] * len(means))
    return Weights(means, [float(deviation) for deviation in deviations])


def question_of(stored: StoredProfile, asking: Asking, told: FeedbackResource | None = None) -> Question:
    """What to ask next, and what the last answer has led to."""
    return Question(asking, asking.next_pair(weights_of(stored)), told)


async def _answer(request: Request, services: Services, viewer: Viewer, user_id: str, question: Question) -> Response:
    """The question as a part of the page that asked for it; without a script as the page."""
    if not is_of_script(request):
        return await run_in_threadpool(_page, request, services, viewer, user_id, question)
    shown: dict[str, Any] = {name: getattr(question, name) for name in ("error", "asking", "pair", "told")}
    return page(request, "teach_pair.html", viewer=viewer, user_id=user_id, **shown)


def _page(
    request: Request, services: Services, viewer: Viewer, user_id: str, question: Question | None = None
) -> Response:
    stored, learnt = _learnt(services, viewer, user_id)
    shown: dict[str, Any] = {"learnt": learnt, "least": LEAST_PAIRS}
    version = version_of(render(request, "teach_learnt.html", viewer=viewer, profile=stored, **shown))
    return page(
        request,
        "teach.html",
        viewer=viewer,
        section="profiles",
        user_id=user_id,
        profile=stored,
        version=version,
        is_teachable=bool(stored.body.get("learn")) and len(_principles(stored)) >= LEAST_PRINCIPLES,
        question=question,
        models=model_names(services),
        **shown,
    )


async def _candidates(
    request: Request, services: Services, viewer: Viewer, stored: StoredProfile, prompt: str, model: str | None
) -> Asking:
    """Texts that differ as the principles do: unguided, as the profile has it, and for each principle alone."""
    seed = secrets.randbelow(2**31)
    alone = [{"principles": [text]} for text, _ in _principles(stored)[:MAX_ALONE]]
    settings: list[dict[str, Any]] = [{"method": "none"}, {}, *alone]
    bodies = [
        _body(prompt, {"model": model, "temperature": TEMPERATURE, "seed": seed + number, "max_tokens": TOKENS, **own})
        for number, own in enumerate(settings)
    ]
    answers = await asyncio.gather(*(_text(request, services, viewer, stored.user_id, body) for body in bodies))
    texts = list(dict.fromkeys(text for text in answers if text and text.strip()))
    all_alike = [{"text": text, "weight": 1.0} for text, _ in _principles(stored)]
    read = {"method": Method.MIXTURE, "principles": all_alike, "strength": 1.0, "max_kl": None, "examples": []}
    readings = [_body(prompt, {**read, "model": model, "text": text}) for text in texts]
    features = await asyncio.gather(*(_features(request, services, viewer, stored, body) for body in readings))
    known = [(text, of_text) for text, of_text in zip(texts, features, strict=True) if of_text is not None]
    written, told = [text for text, _ in known], [of_text for _, of_text in known]
    return Asking(prompt=prompt, model=model, texts=written, features=told)


def _body(prompt: str, settings: dict[str, Any]) -> ProfilePreviewIn:
    said = {name: value for name, value in settings.items() if value is not None}
    try:
        return ProfilePreviewIn.model_validate({"prompt": prompt, "wait_seconds": WAIT_SECONDS, **said})
    except ValidationError as error:
        raise InvalidRequestError(errors=line_errors(error)) from None


async def _text(
    request: Request, services: Services, viewer: Viewer, user_id: str, body: ProfilePreviewIn
) -> str | None:
    (found,) = (await previewed(request, viewer.caller, services, user_id, body)).data
    if found.error is not None:
        raise InvalidRequestError(errors=[LineError(found.error.code, found.error.message, "")])
    return found.text


async def _features(
    request: Request, services: Services, viewer: Viewer, stored: StoredProfile, body: ProfilePreviewIn
) -> list[float] | None:
    """How each principle speaks for a text, in the order of the profile; None where the model cannot say."""
    (found,) = (await previewed(request, viewer.caller, services, stored.user_id, body)).data
    if found.token_rewards is None:
        return None
    ratios = {each.text: each.log_ratio for each in found.token_rewards.principles}
    names = [text for text, _ in _principles(stored)]
    return [ratios[name] for name in names] if ratios.keys() >= set(names) else None


def _stored(services: Services, viewer: Viewer, user_id: str) -> StoredProfile:
    stored = find(services, viewer, user_id)
    if stored is None:
        raise NoSuchProfileError
    return stored


def _principles(stored: StoredProfile) -> list[tuple[str, float]]:
    principles: Any = stored.body.get("principles", ())
    return [(each["text"], float(each["weight"])) for each in principles]


def _learnt(services: Services, viewer: Viewer, user_id: str) -> tuple[StoredProfile, Learnt]:
    stored = _stored(services, viewer, user_id)
    found = feedback.read_feedback(user_id, viewer.caller, services)
    learned: Any = stored.learned or {}
    weights = weights_of(stored)
    names = [text for text, _ in _principles(stored)]
    learnt = Learnt(
        found,
        intervals(names, weights.means, weights.deviations if stored.learned else [0.0] * len(names)),
        agreement=learned.get("agreement"),
        num_pairs=learned.get("num_pairs"),
        is_open=found.fit is not None and found.fit.finished_at is None,
    )
    return stored, learnt
