"""Feedback over HTTP: what users said of texts, and what was learnt from it. The fit itself is a worker's."""

import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from api.http.bodies import JSON, json_body, request_body
from api.http.dependencies import Caller, Scope, ServicesDep, require
from api.http.errors import (
    BodyTooLargeError,
    ConsentRequiredError,
    ContradictingFeedbackError,
    Findings,
    ForbiddenError,
    InvalidRequestError,
    LineError,
    MalformedBodyError,
    ModelAmbiguousError,
    NoModelError,
    NoSuchProfileError,
    NotFoundError,
    TooFewPrinciplesError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.profiles.feedback_schemas import FEEDBACK_EXAMPLE, FeedbackBody, FeedbackResource, RatingBody, fit_resource
from api.profiles.schemas import UserId, canonical_user_id
from api.submissions.model_choice import choose_model
from db.queries import feedback, profiles, ratings
from db.queries.feedback import LEAST_PAIRS, LEAST_PRINCIPLES, Added, StoredFit
from db.queries.models import RegisteredModel
from db.queries.profiles import StoredProfile
from db.queries.ratings import Rating
from domain.pairs import PreferredPair
from domain.preferences import Method
from domain.states import FitState

MOST_PAIRS_OF_RATINGS = 5000
NOTHING_ADDED = Added(0, 0, ())

router = APIRouter(
    tags=["profiles"],
    responses=responses(UnauthorizedError, ForbiddenError, NotFoundError, InvalidRequestError, UnavailableError),
)
Reader = Annotated[Caller, Depends(require(Scope.PROFILES_READ))]
Writer = Annotated[Caller, Depends(require(Scope.PROFILES_WRITE))]


@router.post(
    "/v1/profiles/{user_id}/feedback",
    summary="Give feedback",
    status_code=202,
    responses=responses(
        ConsentRequiredError,
        ContradictingFeedbackError,
        TooFewPrinciplesError,
        MalformedBodyError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        InvalidRequestError,
        ModelAmbiguousError,
        NoModelError,
        TooManyRequestsError,
    ),
    openapi_extra=request_body({"$ref": "#/components/schemas/FeedbackBody"}, JSON, example=FEEDBACK_EXAMPLE),
)
def give_feedback(
    user_id: UserId,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[FeedbackBody, Depends(json_body(FeedbackBody))],
) -> FeedbackResource:
    """Store what the user preferred, and fit the weights of the profile's principles to all that is stored.

    The fit runs in the background and writes a new version of the profile. All pairs are stored or none.
    """
    with services.database.transaction() as session:
        model = _scoring_model(session, body.model)
        stored = profiles.find_profile(session, caller.tenant_id, user_id, for_update=True)
        if stored is None:
            raise NoSuchProfileError
        _check_profile(stored)
        rated = _ratings(session, caller.tenant_id, user_id, body.ratings)
        made = list(islice(ratings.pairs_made(session, stored.profile_id, rated), MOST_PAIRS_OF_RATINGS + 1))
        if len(made) > MOST_PAIRS_OF_RATINGS:
            raise BodyTooLargeError(f"These ratings make more than {MOST_PAIRS_OF_RATINGS} pairs: send them in parts.")
        ratings.keep(session, stored.profile_id, rated)
        pairs = [PreferredPair(pair.turns, pair.chosen, pair.rejected) for pair in body.pairs] + [
            pair for _, pair in made
        ]
        added = feedback.add_pairs(session, stored.profile_id, pairs)
        pointers = [f"/pairs/{index}" for index in range(len(body.pairs))] + [f"/ratings/{index}" for index, _ in made]
        _check_agreement(pointers[index] for index in added.contradictions)
        before = feedback.latest_fit(session, stored.profile_id)
        reason = _why_nothing_is_learnt(added, feedback.num_pairs(session, stored.profile_id), before)
        fit = None if reason else _requested_fit(session, stored, model)
        answer = _resource(session, stored, added=added, message=reason)
    if fit is not None and model.is_ready:
        services.publisher.wake_for_fit(fit.fit_id, model.digest)
    return answer


@router.get("/v1/profiles/{user_id}/feedback", summary="Read what feedback has led to")
def read_feedback(user_id: UserId, caller: Reader, services: ServicesDep) -> FeedbackResource:
    """How much is stored, and how the newest fit stands."""
    with services.database.reading() as session:
        stored = profiles.find_profile(session, caller.tenant_id, user_id)
        if stored is None:
            raise NoSuchProfileError
        return _resource(session, stored)


@router.delete("/v1/profiles/{user_id}/feedback", summary="Withdraw feedback", status_code=204)
def withdraw_feedback(user_id: UserId, caller: Writer, services: ServicesDep) -> None:
    """Forget every stored pair and rating of this user, and end a fit to them that has not ended.

    The profile stays as it is, with the weights that were learnt so far: write it to change them.
    """
    with services.database.transaction() as session:
        stored = profiles.find_profile(session, caller.tenant_id, user_id, for_update=True)
        if stored is None:
            raise NoSuchProfileError
        feedback.withdraw(session, stored.profile_id)


def _scoring_model(session: Session, asked: str | None) -> RegisteredModel:
    """The model that was asked for, or the one that can score; it is told how each principle speaks for a text."""
    return choose_model(session, asked, method=Method.MIXTURE)


def _requested_fit(session: Session, stored: StoredProfile, model: RegisteredModel) -> StoredFit:
    return feedback.request_fit(session, stored.profile_id, model=model.name, model_digest=model.digest)


def _check_profile(stored: StoredProfile) -> None:
    if not stored.body.get("learn"):
        raise ConsentRequiredError
    principles = stored.body["principles"]
    if not isinstance(principles, list) or len(principles) < LEAST_PRINCIPLES:
        raise TooFewPrinciplesError


def _ratings(session: Session, tenant_id: uuid.UUID, user_id: str, bodies: list[RatingBody]) -> list[Rating]:
    """What the ratings are of; raises with all of those that are of no text of this user."""
    custom_ids: dict[uuid.UUID, list[str]] = {}
    for body in bodies:
        custom_ids.setdefault(body.job_id, []).append(body.custom_id)
    texts = {job_id: ratings.ratable_texts(session, tenant_id, job_id, names) for job_id, names in custom_ids.items()}
    findings = Findings()
    found: list[Rating] = []
    for index, body in enumerate(bodies):
        text = texts[body.job_id].get(body.custom_id)
        if text is None or canonical_user_id(text.user_id) != user_id:
            message = "This user has no text under this job and custom_id."
            findings.add(LineError("unknown_result", message, f"/ratings/{index}"))
        else:
            found.append(Rating(text.messages, text.text, body.rating))
    findings.raise_if_any()
    _check_agreement(f"/ratings/{index}" for index in _rated_in_two_ways(found))
    return found


def _rated_in_two_ways(given: list[Rating]) -> Iterator[int]:
    """Ratings of a text that was rated otherwise before in the same request, as two results may read the same."""
    before: dict[str, float] = {}
    for index, rating in enumerate(given):
        if before.setdefault(rating.digest, rating.rating) != rating.rating:
            yield index


def _check_agreement(contradictions: Iterable[str]) -> None:
    message = "This contradicts what the user said of these texts before."
    errors = [LineError(ContradictingFeedbackError.code, message, pointer) for pointer in dict.fromkeys(contradictions)]
    if errors:
        raise ContradictingFeedbackError(errors=errors)


def _why_nothing_is_learnt(added: Added, num_pairs: int, before: StoredFit | None) -> str | None:
    """None where a fit is to be asked for; known pairs ask for one, too, where the last came to nothing."""
    if not added.num_new and not added.num_duplicate:
        return "These ratings make no pair yet: it takes two texts for one prompt, rated differently. They are kept."
    if num_pairs < LEAST_PAIRS:
        return f"Pairs stored: {num_pairs}; from {LEAST_PAIRS} on the weights are fitted to them."
    if not added.num_new and before is not None and before.state is not FitState.FAILED:
        return "Every pair of this request was stored before: there is nothing new to learn."
    return None


def _resource(
    session: Session, stored: StoredProfile, *, added: Added = NOTHING_ADDED, message: str | None = None
) -> FeedbackResource:
    return FeedbackResource(
        user_id=stored.user_id,
        num_pairs=feedback.num_pairs(session, stored.profile_id),
        num_ratings=ratings.num_ratings(session, stored.profile_id),
        num_new=added.num_new,
        num_duplicate=added.num_duplicate,
        fit=fit_resource(feedback.latest_fit(session, stored.profile_id)),
        message=message,
    )
