"""Feedback over HTTP: what users said of texts, and what was learnt from it. The fit itself is a worker's."""

import uuid
from collections.abc import Iterator
from itertools import combinations, islice
from typing import Annotated

from fastapi import APIRouter, Depends

from api.bodies import JSON, json_body, request_body
from api.dependencies import Caller, Scope, ServicesDep, require
from api.errors import (
    BodyTooLargeError,
    ConsentRequiredError,
    ContradictingFeedbackError,
    Findings,
    ForbiddenError,
    InvalidRequestError,
    LineError,
    MalformedBodyError,
    NotFoundError,
    PolicyRequiredError,
    TooFewPrinciplesError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.feedback_schemas import FEEDBACK_EXAMPLE, FeedbackBody, FeedbackResource, RatingBody, fit_resource
from api.profile_schemas import UserId
from db.preferences import digest
from db.queries import feedback, profiles
from db.queries.feedback import LEAST_PAIRS, LEAST_PRINCIPLES, Added, Pair, RatableText, StoredFit
from db.queries.profiles import StoredProfile
from db.states import FitState
from worker.queue import enqueue_fit

MOST_PAIRS_OF_RATINGS = 5000

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
        PolicyRequiredError,
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
    model = services.settings.model_name
    if model is None or services.settings.policy is None:
        raise PolicyRequiredError("Learning weighs principles by the policy's rewards: set PADSERVE_POLICY.")
    with services.database.transaction() as session:
        stored = profiles.find_profile(session, caller.tenant_id, user_id, for_update=True)
        if stored is None:
            raise NotFoundError
        _check_profile(stored)
        texts = {
            job_id: feedback.ratable_texts(session, caller.tenant_id, job_id, custom_ids)
            for job_id, custom_ids in _rated(body.ratings).items()
        }
        pairs = [Pair(pair.turns, pair.chosen, pair.rejected) for pair in body.pairs]
        pairs += islice(_pairs_of_ratings(user_id, body.ratings, texts), MOST_PAIRS_OF_RATINGS + 1)
        if len(pairs) > MOST_PAIRS_OF_RATINGS:
            raise BodyTooLargeError(f"These ratings make more than {MOST_PAIRS_OF_RATINGS} pairs: send them in parts.")
        added = feedback.add_pairs(session, stored.profile_id, pairs)
        _check_agreement(added, len(body.pairs))
        num_pairs = feedback.num_pairs(session, stored.profile_id)
        before = feedback.latest_fit(session, stored.profile_id)
        reason = _why_nothing_is_learnt(added, num_pairs, before)
        fit = None if reason else feedback.request_fit(session, stored.profile_id, model)
    if fit is not None:
        enqueue_fit(services.queue, fit.fit_id)
    return _resource(user_id, num_pairs, fit or before, added=added, message=reason)


@router.get("/v1/profiles/{user_id}/feedback", summary="Read what feedback has led to")
def read_feedback(user_id: UserId, caller: Reader, services: ServicesDep) -> FeedbackResource:
    """How many pairs are stored, and how the newest fit stands."""
    with services.database.reading() as session:
        stored = profiles.find_profile(session, caller.tenant_id, user_id)
        if stored is None:
            raise NotFoundError
        num_pairs = feedback.num_pairs(session, stored.profile_id)
        return _resource(user_id, num_pairs, feedback.latest_fit(session, stored.profile_id))


@router.delete("/v1/profiles/{user_id}/feedback", summary="Withdraw feedback", status_code=204)
def withdraw_feedback(user_id: UserId, caller: Writer, services: ServicesDep) -> None:
    """Forget every stored pair of this user, and end a fit to them that has not ended.

    The profile stays as it is, with the weights that were learnt so far: write it to change them.
    """
    with services.database.transaction() as session:
        stored = profiles.find_profile(session, caller.tenant_id, user_id, for_update=True)
        if stored is None:
            raise NotFoundError
        feedback.withdraw(session, stored.profile_id)


def _check_profile(stored: StoredProfile) -> None:
    if not stored.body.get("learn"):
        raise ConsentRequiredError
    principles = stored.body["principles"]
    if not isinstance(principles, list) or len(principles) < LEAST_PRINCIPLES:
        raise TooFewPrinciplesError


def _rated(ratings: list[RatingBody]) -> dict[uuid.UUID, list[str]]:
    custom_ids: dict[uuid.UUID, list[str]] = {}
    for rating in ratings:
        custom_ids.setdefault(rating.job_id, []).append(rating.custom_id)
    return custom_ids


def _pairs_of_ratings(
    user_id: str, ratings: list[RatingBody], texts: dict[uuid.UUID, dict[str, RatableText]]
) -> Iterator[Pair]:
    """Every two results of one prompt that were rated differently; raises with all ratings of what is no result."""
    of_prompt: dict[str, list[tuple[RatableText, float]]] = {}
    findings = Findings()
    for index, rating in enumerate(ratings):
        rated = texts[rating.job_id].get(rating.custom_id)
        if rated is None or rated.user_id != user_id:
            message = "This user has no text under this job and custom_id."
            findings.add(LineError("unknown_result", message, f"/ratings/{index}"))
        else:
            of_prompt.setdefault(digest(rated.messages), []).append((rated, rating.rating))
    findings.raise_if_any()
    for rated_texts in of_prompt.values():
        for (one, higher), (other, lower) in combinations(sorted(rated_texts, key=lambda rated: -rated[1]), 2):
            if higher > lower and one.text != other.text:
                yield Pair(one.messages, one.text, other.text)


def _check_agreement(added: Added, num_sent_pairs: int) -> None:
    if not added.contradictions:
        return
    message = "The other text of this pair was preferred before."
    pointers = [f"/pairs/{index}" if index < num_sent_pairs else "/ratings" for index in added.contradictions]
    errors = [LineError(ContradictingFeedbackError.code, message, pointer) for pointer in dict.fromkeys(pointers)]
    raise ContradictingFeedbackError(errors=errors)


def _why_nothing_is_learnt(added: Added, num_pairs: int, before: StoredFit | None) -> str | None:
    """None where a fit is to be asked for; known pairs ask for one, too, where the last came to nothing."""
    if not added.num_new and not added.num_duplicate:
        return "These ratings make no pair: it takes two results of one prompt, rated differently, in one request."
    if num_pairs < LEAST_PAIRS:
        return f"{num_pairs} pairs are stored; from {LEAST_PAIRS} on the weights are fitted to them."
    if not added.num_new and before is not None and before.state is not FitState.FAILED:
        return "Every pair of this request was stored before: there is nothing new to learn."
    return None


def _resource(
    user_id: str, num_pairs: int, fit: StoredFit | None, *, added: Added | None = None, message: str | None = None
) -> FeedbackResource:
    return FeedbackResource(
        user_id=user_id,
        num_pairs=num_pairs,
        num_new=added.num_new if added else 0,
        num_duplicate=added.num_duplicate if added else 0,
        fit=fit_resource(fit),
        message=message,
    )
