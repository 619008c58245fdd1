"""Which model a request means: by name, by alias, by `name@digest`, or by being the only one there is."""

import re
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy.orm import Session

from api.http.errors import ApiError, InvalidRequestError, ModelAmbiguousError, NoModelError
from api.submissions.item_source import AT_THE_TOP, Place
from db.queries.models import RegisteredModel, list_models
from db.queries.workers import worker_status
from db.session import Database
from domain.model_descriptions import SHORT_DIGEST
from domain.preferences import Method
from domain.states import WorkerState

RETRY_SECONDS = 5
_DIGEST = re.compile(rf"[0-9a-f]{{{SHORT_DIGEST},64}}")


def choose_model(
    session: Session, asked: str | None, place: Place = AT_THE_TOP, *, method: Method | None = None
) -> RegisteredModel:
    """The model that a request is for; with `method`, an unnamed one is among those that know it, if any does.

    Raises NoModelError where none is known yet, InvalidRequestError where none is of that name or one must be named,
    and ModelAmbiguousError where several are served under it.
    """
    known = list_models(session)
    if not known:
        raise NoModelError(_why_none(session), headers={"Retry-After": str(RETRY_SECONDS)})
    if asked is not None:
        return _one(named(known, asked), lambda _: _ambiguous(asked, known)) or _refuse_unknown(asked, known, place)
    able = [model for model in known if method is None or method in model.description.methods] or known
    chosen = _one([model for model in able if model.is_ready], lambda several: _unnamed(several, place))
    if chosen is not None:
        return chosen
    if len({model.name for model in able}) > 1 and len({model.digest for model in able}) > 1:
        raise _unnamed(able, place)
    return max(able, key=lambda model: model.seen_at)


def named(known: Sequence[RegisteredModel], asked: str) -> list[RegisteredModel]:
    """The models that a name, an alias or a `name@digest` may mean: those that are served, else the one served last."""
    found = _called(known, asked)
    if not found:
        name, _, prefix = asked.rpartition("@")
        if _DIGEST.fullmatch(prefix.lower()):
            found = [model for model in _called(known, name) if model.digest.startswith(prefix.lower())]
    served = [model for model in found if model.is_ready]
    return served or sorted(found, key=lambda model: model.seen_at)[-1:]


def known_methods(database: Database) -> frozenset[Method]:
    """What any of the registered models can be steered by; every method before there is one."""
    with database.reading() as session:
        known = list_models(session)
    return frozenset(method for model in known for method in model.description.methods) if known else frozenset(Method)


def _called(known: Iterable[RegisteredModel], name: str) -> list[RegisteredModel]:
    """The models of this name; only where there is none, those that have it as an alias."""
    found = [model for model in known if model.name == name]
    return found or [model for model in known if name in model.aliases]


def _one(
    candidates: Sequence[RegisteredModel], too_many: Callable[[Sequence[RegisteredModel]], ApiError]
) -> RegisteredModel | None:
    """The one model that all candidates are, under whichever names, or None; raises `too_many` of several."""
    if len({model.digest for model in candidates}) > 1:
        raise too_many(candidates)
    return candidates[0] if candidates else None


def _ambiguous(asked: str, known: Sequence[RegisteredModel]) -> ModelAmbiguousError:
    references = _listed(model.reference for model in named(known, asked))
    return ModelAmbiguousError(f"Several models are served as `{asked}`: name one of {references}.", param="model")


def _unnamed(several: Sequence[RegisteredModel], place: Place) -> InvalidRequestError:
    names = [model.name for model in several]
    references = _listed(model.name if names.count(model.name) == 1 else model.reference for model in several)
    message = f"There are several models: name one of {references} as `model`."
    return InvalidRequestError(message, errors=[place.error("model_required", message, "/model")])


def _refuse_unknown(asked: str, known: Sequence[RegisteredModel], place: Place) -> RegisteredModel:
    served_first = sorted(known, key=lambda model: not model.is_ready)
    message = f"There is no model `{asked}` here; there is {_listed(model.name for model in served_first)}."
    raise InvalidRequestError(errors=[place.error("unknown_model", message, "/model")])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _why_none(session: Session) -> str:
    status = worker_status(session)
    if status.state is WorkerState.LOADING:
        return "The worker is still loading its model, and no other is known yet: try again in a moment."
    return f"No model is known yet. {status.message or 'The worker is about to register its model.'}"
