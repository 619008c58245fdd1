"""Learning a profile from feedback: claim a fit, have its texts scored, fit, write. No Celery, no torch."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

import numpy as np
import structlog
from sqlalchemy.exc import SQLAlchemyError

from db.faults import describe, is_passing
from db.queries import fits
from db.queries.feedback import LEAST_PAIRS, LEAST_PRINCIPLES
from db.queries.fits import ClaimedFit, ProfileChangedError
from db.session import Database
from domain.json_values import JsonObject
from domain.preferences import Method
from worker.learning.preference_fit import Array, Fitted, fit_weights
from worker.supervision.protocol import DecoderUnavailableError, Features
from worker.supervision.supervisor import EngineLostError, EngineSupervisor

PAIRS_AT_ONCE = 4
"""Scored between two looks at lease and shutdown."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LearningPolicy:
    """Which fits a worker takes, how long it holds on, and how often it tries."""

    model_digest: str
    lease_seconds: float
    max_attempts: int


class _RefusalError(Exception):
    """Why the profile stays as it was."""

    def __init__(self, code: str, message: str, num_pairs: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.num_pairs = num_pairs


class _GivenUpError(Exception):
    """Somebody else has the fit by now, or the worker is to end."""


class Learning:
    """Fits profiles to their feedback, one at a time, with the engine that decodes."""

    def __init__(
        self, database: Database, supervisor: EngineSupervisor, policy: LearningPolicy, stopping: Event
    ) -> None:
        self.owner = uuid.uuid4()
        self.is_running = False
        self._database = database
        self._supervisor = supervisor
        self._policy = policy
        self._stopping = stopping

    def run(self) -> uuid.UUID | None:
        """Fit the profile that has waited longest; the fit that waits next, if any."""
        self.is_running = True
        try:
            return self._run()
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            log.warning("database_unavailable", **describe(error))
            return None  # the reconciler will ask again
        finally:
            self.is_running = False

    def _run(self) -> uuid.UUID | None:
        with self._database.transaction() as session:
            fit = fits.claim(
                session,
                owner=self.owner,
                model_digest=self._policy.model_digest,
                lease_seconds=self._policy.lease_seconds,
            )
        if fit is None:
            return None
        self._end(fit)
        with self._database.reading() as session:
            return fits.next_waiting(session, model_digest=self._policy.model_digest)

    def _end(self, fit: ClaimedFit) -> None:
        try:
            fitted, num_pairs = self._fitted(fit)
            body, learned = reweighted(fit.profile.body, fitted), provenance(fit, fitted, num_pairs)
            with self._database.transaction() as session:
                held = fits.succeed(session, owner=self.owner, fit=fit, body=body, learned=learned)
            if held:
                log.info("profile_learned", fit_id=str(fit.fit_id), num_pairs=num_pairs)
        except _RefusalError as refusal:
            with self._database.transaction() as session:
                fits.fail(
                    session,
                    owner=self.owner,
                    fit=fit,
                    code=refusal.code,
                    message=refusal.message,
                    num_pairs=refusal.num_pairs,
                )
        except ProfileChangedError:
            self._try_again(fit, "profile_changed", "The profile was changed each time while it was fitted.")
        except EngineLostError:
            self._try_again(fit, "engine_lost", "The engine was lost each time while it scored these texts.")
        except _GivenUpError:
            self._give_back(fit, was_tried=False)
        except DecoderUnavailableError:  # the worker ends; no text of this fit is to blame
            self._give_back(fit, was_tried=False)
            raise

    def _try_again(self, fit: ClaimedFit, code: str, message: str) -> None:
        if fit.attempt < self._policy.max_attempts:
            self._give_back(fit, was_tried=True)
            return
        with self._database.transaction() as session:
            fits.fail(session, owner=self.owner, fit=fit, code=code, message=message)

    def _give_back(self, fit: ClaimedFit, *, was_tried: bool) -> None:
        with self._database.transaction() as session:
            fits.give_back(session, owner=self.owner, fit=fit, was_tried=was_tried)

    def _fitted(self, fit: ClaimedFit) -> tuple[Fitted, int]:
        """Weights, and the number of pairs behind them; raises _RefusalError."""
        body = fit.profile.body
        if not body.get("learn"):
            raise _RefusalError("consent_required", "The profile no longer says `learn: true`.")
        principles = principles_of(body)
        if len(principles) < LEAST_PRINCIPLES:
            raise _RefusalError("too_few_principles", "The profile has fewer than two principles: nothing to weigh.")
        features = self._features(fit, tuple(text for text, _ in principles))
        known = [row for row in features if row is not None]
        if len(known) < LEAST_PAIRS:
            message = f"{len(known)} of {len(features)} pairs could be scored; at least {LEAST_PAIRS} are needed."
            raise _RefusalError("too_few_pairs", message, len(known))
        fitted = fit_weights(np.array(known), *prior_of(principles, fit.stated.body))
        if fitted is None:
            message = "The preferred texts keep none of the profile's principles better than the others do."
            raise _RefusalError("nothing_preferred", message, len(known))
        return fitted, len(known)

    def _features(self, fit: ClaimedFit, principles: tuple[str, ...]) -> list[Features | None]:
        features: list[Features | None] = []
        keep = _Keeper(partial(self._extend, fit), self._policy.lease_seconds / 6, self._stopping)
        for start in range(0, len(fit.pairs), PAIRS_AT_ONCE):
            keep()
            features += self._supervisor.compare(fit.pairs[start : start + PAIRS_AT_ONCE], principles, on_wait=keep)
        return features

    def _extend(self, fit: ClaimedFit) -> None:
        with self._database.transaction() as session:
            held = fits.extend(session, owner=self.owner, fit=fit, lease_seconds=self._policy.lease_seconds)
        if not held:
            raise _GivenUpError


class _Keeper:
    """Called often, it extends a lease now and then; raises _GivenUpError when there is no point in going on."""

    def __init__(self, extend: Callable[[], None], seconds: float, stopping: Event) -> None:
        self._extend = extend
        self._seconds = seconds
        self._stopping = stopping
        self._last = time.monotonic()

    def __call__(self) -> None:
        if self._stopping.is_set():
            raise _GivenUpError
        if time.monotonic() - self._last >= self._seconds:
            self._extend()
            self._last = time.monotonic()


def principles_of(body: JsonObject) -> list[tuple[str, float]]:
    """The texts and weights of a stored profile."""
    stored = body["principles"]
    if not isinstance(stored, list):
        message = "A stored profile is not in its canonical form."
        raise TypeError(message)
    return [(str(principle["text"]), float(principle["weight"])) for principle in stored]


def prior_of(principles: Sequence[tuple[str, float]], stated: JsonObject) -> tuple[Array, float]:
    """The weights that the client stated, and what the fitted ones are to sum up to.

    Not the present ones: a fit wrote those from pairs that this fit reads again. The sum is that of a stated mixture,
    and else 1, at which a mixture guides as strongly as PAD.
    """
    weights = dict(principles_of(stated))
    prior = np.array([weights.get(text, present) for text, present in principles])
    total = float(prior.sum())
    return prior, total if stated.get("method") == Method.MIXTURE.value and total > 0 else 1.0


def reweighted(body: JsonObject, fitted: Fitted) -> JsonObject:
    """The profile with the fitted weights, under the method that reads weights."""
    texts = [text for text, _ in principles_of(body)]
    weights = [round(weight, 4) for weight in fitted.weights]
    principles = [{"text": text, "weight": weight} for text, weight in zip(texts, weights, strict=True)]
    return body | {"principles": principles, "method": Method.MIXTURE.value}


def provenance(fit: ClaimedFit, fitted: Fitted, num_pairs: int) -> JsonObject:
    """What the new version says of where it comes from."""
    return {
        "num_pairs": num_pairs,
        "base_version": fit.stated.version,
        "deviations": [round(deviation, 4) for deviation in fitted.deviations],
        "agreement": round(fitted.agreement, 4),
    }
