"""The interactive page at /docs and the OpenAPI document behind it. Served whole from here: no CDN, no outside host."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.anthropic import batch_schemas as message_batch_schemas
from api.anthropic import failures
from api.campaigns import preview_schemas
from api.campaigns import schemas as campaign_schemas
from api.http.problems import Problem
from api.jobs import schedule_schemas
from api.jobs import schemas as job_schemas
from api.openai import batch_schemas
from api.profiles import feedback_schemas
from api.profiles import preview_schemas as profile_preview_schemas
from api.profiles import schemas as profile_schemas
from api.webhooks import schemas as webhook_schemas

SUMMARY = "Bulk text generation, each item steered while it is decoded by its reader's stored preferences."
DESCRIPTION = """
1. Make a key: `python -m db create-key --tenant default --name me`. Press **Authorize** and paste it.
2. `PUT /v1/profiles/{user_id}` stores what a user prefers.
3. `POST /v1/jobs` submits items, each naming a user; `GET /v1/jobs/{id}/results` reads what was written for them.

Every failure is an RFC 9457 problem with a stable `code`. Every answer carries `X-Request-ID`: quote it to get help.
"""
TAGS = [
    {"name": "jobs", "description": "Submit items in bulk, follow them, read what was written."},
    {"name": "profiles", "description": "What users prefer, versioned. A job pins the version it was submitted with."},
    {"name": "models", "description": "What this deployment decodes with."},
    {"name": "openai", "description": "Files and batches as OpenAI's clients know them. A batch is a job."},
    {"name": "anthropic", "description": "Messages and message batches as Anthropic's clients know them."},
    {"name": "webhooks", "description": "Have your own server told when a job or a batch has ended."},
    {"name": "health", "description": "For load balancers and monitors. No key needed."},
]
ASSETS_PATH = "/docs/assets"
REF_TEMPLATE = "#/components/schemas/{model}"


def interactive_page(request: Request) -> HTMLResponse:
    """The page at /docs."""
    root = request.scope.get("root_path", "").rstrip("/")
    return get_swagger_ui_html(
        title="padserve",
        openapi_url=f"{root}/openapi.json",
        swagger_js_url=f"{root}{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS_PATH}/favicon-32x32.png",
        swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True, "displayRequestDuration": True},
    )


class DocumentedApi(FastAPI):
    """A FastAPI application whose document also holds the schemas that its endpoints read by themselves."""

    def __init__(self) -> None:
        super().__init__(
            title="padserve",
            version=version("padserve"),
            summary=SUMMARY,
            description=DESCRIPTION,
            openapi_tags=TAGS,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,  # the address would be made of what the client says our host is
            swagger_ui_oauth2_redirect_url=None,
            # It would record paths, queries and messages, which name users: `telemetry.tracing` has the spans.
            telemetry={"logs": False, "metrics": False, "tracing": False},
        )
        self.mount(ASSETS_PATH, StaticFiles(packages=[("fastapi_swagger", "resources")]))
        self.get("/docs", include_in_schema=False)(interactive_page)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            models: list[type[BaseModel]] = [
                Problem,
                *job_schemas.DOCUMENTED_SCHEMAS,
                schedule_schemas.PriorityBody,
                *campaign_schemas.DOCUMENTED_SCHEMAS,
                *preview_schemas.DOCUMENTED_SCHEMAS,
                *profile_preview_schemas.DOCUMENTED_SCHEMAS,
                *profile_schemas.DOCUMENTED_SCHEMAS,
                *feedback_schemas.DOCUMENTED_SCHEMAS,
                *batch_schemas.DOCUMENTED_SCHEMAS,
                *failures.DOCUMENTED_SCHEMAS,
                *message_batch_schemas.DOCUMENTED_SCHEMAS,
                *webhook_schemas.DOCUMENTED_SCHEMAS,
            ]
            _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REF_TEMPLATE)
            schemas.update(definitions["$defs"])
        return document
