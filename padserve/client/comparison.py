"""One prompt for one user under several settings: a small job that goes first and is gone once its texts are read."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product

from padserve.client.answers import Job, Model, Result
from padserve.errors import ApiError, ComparisonError

PRIORITY = "interactive"
PATIENCE_SECONDS = 60.0
KEPT_AT_MOST = "15m"
"""What has not ended by then never will, should nobody be left to delete the job."""
METADATA = {"purpose": "comparison"}
GONE = "gone"
UNGUIDED = "none"
NO_PROFILE = "There is no profile for user {user_id}: store one first, as with `padserve profiles set`."


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting and what it gave; what is None was left to the profile and the model."""

    method: str | None
    strength: float | None
    max_kl: float | None
    result: Result


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which settings are tried. Each of the three that is given is combined with the others."""

    prompt: str
    user_id: str
    methods: Sequence[str] = ()
    strengths: Sequence[float] = ()
    max_kls: Sequence[float] = ()
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def settings(self) -> list[tuple[str | None, float | None, float | None]]:
        """Method, strength and budget of each text; where none is given, unguided and as the profile has it."""
        if not (self.methods or self.strengths or self.max_kls):
            return [(UNGUIDED, None, None), (None, None, None)]
        given = (self.methods or (None,), self.strengths or (None,), self.max_kls or (None,))
        return list(dict.fromkeys(product(*given)))

    def items(self, seed: int) -> Iterator[dict[str, object]]:
        """One for each setting, all with the same seed: what differs is the setting."""
        for number, (method, strength, max_kl) in enumerate(self.settings, start=1):
            stated = {"method": method, "strength": strength, "max_kl": max_kl}
            yield {
                "custom_id": str(number),
                "user_id": self.user_id,
                "prompt": self.prompt,
                "seed": seed,
                **{name: value for name, value in stated.items() if value is not None},
            }

    def trials(self, results: Sequence[Result]) -> list[Trial]:
        """What came of each setting, in their order."""
        by_id = {result.custom_id: result for result in results}
        return [
            Trial(method, strength, max_kl, by_id[str(number)])
            for number, (method, strength, max_kl) in enumerate(self.settings, start=1)
        ]


def seed_of(defaults: Mapping[str, object] | None) -> tuple[int, dict[str, object]]:
    """The seed that every text has, and what else is the same for all."""
    others = dict(defaults or {})
    seed = others.pop("seed", 0)
    return (seed if isinstance(seed, int) else 0), others


def check_served(job: Job, known: Sequence[Model]) -> None:
    """Raise `ComparisonError` where no worker has the job's model: nobody would write a text."""
    if not any(model.digest == job.model_digest and model.state != GONE for model in known):
        reason = job.waiting_reason or f"No worker serves {job.model}."
        raise ComparisonError(f"{reason} `padserve models` lists what is served, `padserve doctor` what is missing.")


def check_goes_on(on_progress: Callable[[Job], None] | None) -> Callable[[Job], None]:
    """A function to be called with each state of the job, which raises `ComparisonError` where somebody stopped it."""

    def check(job: Job) -> None:
        if job.paused_at is not None or job.state in {"cancelled", "expired"}:
            stopped = "paused" if job.paused_at is not None else job.state
            raise ComparisonError(f"The job that writes the texts was {stopped} meanwhile.")
        if on_progress is not None:
            on_progress(job)

    return check


@contextmanager
def told_once(user_id: str) -> Iterator[None]:
    """What is wrong with the prompt or the user is wrong with every item alike: it is told once, without a line."""
    try:
        yield
    except ApiError as error:
        errors = tuple(dict.fromkeys(replace(each, line=None) for each in error.errors))
        is_unknown = [each.code for each in errors] == ["unknown_user"]
        raise type(error)(
            NO_PROFILE.format(user_id=user_id) if is_unknown else error.detail,
            status=error.status,
            code="unknown_user" if is_unknown else error.code,
            errors=() if is_unknown else errors,
            request_id=error.request_id,
        ) from None
