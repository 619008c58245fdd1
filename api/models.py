"""What jobs can be decoded with: every model that a worker has registered.

One answer for all: it has what OpenAI's clients read of a model, and what Anthropic's do.
"""

import datetime as dt
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from api.http.bounds import ModelName
from api.http.dependencies import Caller, ServicesDep, require
from api.http.errors import (
    InvalidRequestError,
    ModelAmbiguousError,
    NoSuchModelError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    responses,
)
from api.submissions.model_choice import named
from db.queries.models import RegisteredModel, list_models
from domain.preferences import METHODS_WITH_POLICY, Method
from domain.states import ModelState

router = APIRouter(tags=["models"], responses=responses(UnauthorizedError, InvalidRequestError, UnavailableError))
AnyCaller = Annotated[Caller, Depends(require())]


class Model(BaseModel):
    """A model, how it can be steered, and whether it is served."""

    id: str = Field(description="Its name; `name@digest` where another model of that name comes first.")
    object: Literal["model"] = "model"
    created: int = Field(description="When a worker first registered it, in seconds since 1970.")
    owned_by: Literal["padserve"] = "padserve"
    aliases: list[str]
    digest: str = Field(description="What it is: SHA-256 of weights, policy, configuration, tokenizer and card.")
    methods: list[Method]
    default_method: Method = Field(description="How an item is steered when neither it nor its profile says.")
    policy: bool = Field(description="Whether it has a personalised reward model.")
    max_length: int = Field(description="Tokens of prompt and answer together.")
    strength: float = Field(description="Where neither an item, nor its job, nor its profile says.")
    max_kl: float | None = Field(description="As `strength`: nats per token at most; null is no bound.")
    format: str = Field(description="How principles are shown to it.")
    state: ModelState
    last_seen_at: dt.datetime = Field(description="When a worker last served it, to a minute.")
    type: Literal["model"] = "model"
    display_name: str = Field(description="`id`, for Anthropic's clients.")
    created_at: dt.datetime = Field(description="`created`, for Anthropic's clients.")
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int = Field(description="`max_length`, for Anthropic's clients.")


class ModelList(BaseModel):
    """The models that are known, the ones that are served first: all of them, or a page for who says a `limit`."""

    object: Literal["list"] = "list"
    data: list[Model]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.get("/v1/models", summary="List models")
def list_known_models(
    caller: AnyCaller,  # noqa: ARG001 - a key is needed
    services: ServicesDep,
    *,
    after_id: Annotated[ModelName | None, Query(description="The `last_id` of the page before.")] = None,
    before_id: Annotated[ModelName | None, Query(description="The `first_id` of the page behind.")] = None,
    limit: Annotated[int | None, Query(ge=1, le=1000, description="Models per page; all if unsaid.")] = None,
) -> ModelList:
    """The models that jobs can name."""
    with services.database.reading() as session:
        known = list_models(session)
    models = sorted(_views(known).values(), key=lambda model: model.state is not ModelState.READY)
    ids = [model.id for model in models]
    if after_id is not None:
        models = models[ids.index(after_id) + 1 :] if after_id in ids else []
    if before_id is not None:
        models = models[: ids.index(before_id)] if before_id in ids else []
    page = models[:limit] if before_id is None else models[-(limit or len(models)) :]
    return ModelList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(page) < len(models),
    )


@router.get(
    "/v1/models/{model_id:path}", summary="Read a model", responses=responses(NotFoundError, ModelAmbiguousError)
)
def read_model(model_id: ModelName, caller: AnyCaller, services: ServicesDep) -> Model:  # noqa: ARG001 - a key is needed
    """One model by its name, an alias, or `name@digest`."""
    with services.database.reading() as session:
        known = list_models(session)
    found = named(known, model_id)
    if not found:
        raise NoSuchModelError
    if len({model.digest for model in found}) > 1:
        references = ", ".join(f"`{model.reference}`" for model in found)
        raise ModelAmbiguousError(f"Several models are served as `{model_id}`: name one of {references}.")
    return _views(known)[found[0].name, found[0].digest]


def _views(known: list[RegisteredModel]) -> dict[tuple[str, str], Model]:
    """By name and digest; of one name, the first has it as its id."""
    first = {model.name: model.digest for model in reversed(known)}
    return {
        (model.name, model.digest): _view(model, model.name if first[model.name] == model.digest else model.reference)
        for model in known
    }


def _view(model: RegisteredModel, name: str) -> Model:
    description = model.description
    return Model(
        id=name,
        created=int(model.registered_at.timestamp()),
        aliases=list(model.aliases),
        digest=model.digest,
        methods=list(description.methods),
        default_method=description.default_method,
        policy=not METHODS_WITH_POLICY.isdisjoint(description.methods),
        max_length=description.max_length,
        strength=description.strength,
        max_kl=description.max_kl,
        format=description.format,
        state=model.state,
        last_seen_at=model.seen_at,
        display_name=name,
        created_at=model.registered_at,
        max_input_tokens=description.max_length,
    )
