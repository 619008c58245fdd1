"""What this deployment decodes with, in the shape of the OpenAI model list."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from api.dependencies import Caller, ServicesDep, require
from api.errors import InvalidRequestError, NotFoundError, UnauthorizedError, UnavailableError, responses
from db.preferences import Method
from db.queries.workers import worker_status
from db.states import WorkerState

router = APIRouter(tags=["models"], responses=responses(UnauthorizedError, InvalidRequestError, UnavailableError))
AnyCaller = Annotated[Caller, Depends(require())]


class Model(BaseModel):
    """A model, and how it can be steered."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When this server started, in seconds since 1970.")
    owned_by: Literal["padserve"] = "padserve"
    methods: list[Method]
    default_method: Method = Field(description="How an item is steered when neither it nor its profile says.")
    policy: bool = Field(description="Whether a personalised reward model is configured.")
    state: WorkerState = Field(description="What the workers say.")


class ModelList(BaseModel):
    """Every model; a deployment has one, or none yet."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/v1/models", summary="List models")
def list_models(caller: AnyCaller, services: ServicesDep, request: Request) -> ModelList:  # noqa: ARG001 - a key is needed
    """The models that jobs can use."""
    settings = services.settings
    if settings.model_name is None:
        return ModelList(data=[])
    with services.database.reading() as session:
        state = worker_status(session).state
    model = Model(
        id=settings.model_name,
        created=request.app.state.started_at,
        methods=list(settings.methods),
        default_method=settings.default_method,
        policy=bool(settings.policy),
        state=state,
    )
    return ModelList(data=[model])


@router.get("/v1/models/{model_id:path}", summary="Read a model", responses=responses(NotFoundError))
def read_model(model_id: str, caller: AnyCaller, services: ServicesDep, request: Request) -> Model:
    """One model by its id."""
    for model in list_models(caller, services, request).data:
        if model.id == model_id:
            return model
    raise NotFoundError
