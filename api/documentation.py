"""The interactive page at /docs and the OpenAPI document behind it. Served whole from here: no CDN, no outside host."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi
from pydantic.json_schema import models_json_schema

from api.problems import Problem
from api.profile_schemas import DOCUMENTED_SCHEMAS

SUMMARY = "Bulk text generation, each item steered while it is decoded by its reader's stored preferences."
DESCRIPTION = """
1. Make a key: `python -m db create-key --tenant default --name me`. Press **Authorize** and paste it.
2. `PUT /v1/profiles/{user_id}` stores what a user prefers.
3. `POST /v1/jobs` submits items, each naming a user; `GET /v1/jobs/{id}/results` reads what was written for them.

Every failure is an RFC 9457 problem with a stable `code`. Every answer carries `X-Request-ID`: quote it when you ask for help.
"""
TAGS = [
    {"name": "jobs", "description": "Submit items in bulk, follow them, read what was written."},
    {"name": "profiles", "description": "What users prefer, versioned. A job pins the version it was submitted with."},
    {"name": "models", "description": "What this deployment decodes with."},
    {"name": "health", "description": "For load balancers and monitors. No key needed."},
]
REF_TEMPLATE = "#/components/schemas/{model}"


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
            swagger_ui_oauth2_redirect_url=None,
            telemetry={"logs": False},  # it would record exception messages, which may quote user text
        )
        patch_fastapi(self, redirect_from_root_to_docs=False)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            _, definitions = models_json_schema(
                [(schema, "validation") for schema in (Problem, *DOCUMENTED_SCHEMAS)], ref_template=REF_TEMPLATE
            )
            schemas.update(definitions["$defs"])
        return document
