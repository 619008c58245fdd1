"""The interactive page explains itself, works without the internet, and promises what the API does."""

import re

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Api

Document = dict[str, dict[str, dict[str, dict[str, object]]]]
UNCHECKED_PATHS = {"/healthz", "/readyz"}
ERRORS = {"/metrics": {"401", "404"}}


@pytest.fixture
def document(client: TestClient) -> Document:
    document: Document = client.get("/openapi.json").json()
    return document


def test_every_operation_declares_its_errors_as_problems(document: Document) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            declared = operation["responses"]
            assert isinstance(declared, dict)
            assert path in UNCHECKED_PATHS or ERRORS.get(path, {"401", "503"}) <= set(declared)
            for status, answer in declared.items():
                if status >= "400" and path not in UNCHECKED_PATHS:
                    theirs = "application/json" if path.startswith("/v1/messages") else "application/problem+json"
                    assert list(answer["content"]) == [theirs], (path, status)


def test_every_operation_has_a_summary_a_description_and_a_tag(document: Document) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            assert operation["tags"]


def test_bodies_have_a_schema_and_an_example(document: Document) -> None:
    put = document["paths"]["/v1/profiles/{user_id}"]["put"]["requestBody"]
    assert isinstance(put, dict)
    content = put["content"]["application/json"]

    assert content["schema"] == {"$ref": "#/components/schemas/ProfileBody"}
    assert content["example"]["principles"][0] == "humor"


def test_every_reference_leads_somewhere(client: TestClient, document: Document) -> None:
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', client.get("/openapi.json").text))

    assert references
    assert references <= set(document["components"]["schemas"])


def test_the_page_loads_nothing_from_elsewhere(api: Api) -> None:
    client = api.anonymous_client()

    page = client.get("/docs")

    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert page.status_code == 200
    assert len(sources) >= 3
    for source in sources:
        assert source.startswith("/docs/assets/")
        assert client.get(source).status_code == 200
