"""Below a path of a host, behind a proxy that takes it off, every link leads back below that path."""

import re
from collections.abc import Iterator

import httpx
import openai
import pytest

from padserve import Client
from tests.system.behind_a_proxy import PREFIX, Proxied, api_behind_a_proxy


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Proxied]:
    with api_behind_a_proxy(tmp_path_factory.mktemp("proxied"), redis_url) as proxied:
        yield proxied


@pytest.fixture
def http(proxied: Proxied) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxied.url, headers={"Authorization": f"Bearer {proxied.key}"}) as http:
        yield http


def host_of(proxied: Proxied) -> str:
    return proxied.url.removesuffix(PREFIX)


def test_what_is_made_is_found_where_location_says(proxied: Proxied, http: httpx.Client) -> None:
    profile = http.put("/v1/profiles/ada", json={"principles": ["formal"]})
    job = http.post("/v1/jobs", json={"items": [{"custom_id": "a", "user_id": "ada", "prompt": "Hi"}]})

    for made in (profile, job):
        location = made.headers["Location"]
        assert location.startswith(f"{PREFIX}/v1/")
        found = http.get(host_of(proxied) + location)
        assert found.status_code == 200
    assert found.json()["id"] == job.json()["id"]


def test_the_clients_work_below_the_path(proxied: Proxied) -> None:
    with Client(proxied.url, proxied.key) as client:
        client.profiles.put("ben", principles=["formal"])
        job = client.submit([{"custom_id": "a", "user_id": "ben", "prompt": "Hi"}])
        assert client.job(job.id).id == job.id
    theirs = openai.OpenAI(base_url=f"{proxied.url}/v1", api_key=proxied.key)
    file = theirs.files.create(file=("a.jsonl", b'{"x": 1}\n'), purpose="batch")
    assert theirs.files.content(file.id).read() == b'{"x": 1}\n'
    assert [model.id for model in theirs.models.list()] == ["tiny"]


def test_failures_have_the_shape_of_their_route_and_its_whole_path(http: httpx.Client) -> None:
    ours = http.get("/v1/jobs/none").json()
    anthropics = http.post("/v1/messages", content=b"{").json()

    assert ours["instance"] == f"{PREFIX}/v1/jobs/none"
    assert anthropics["type"] == "error"


def test_the_page_of_the_api_finds_its_parts(proxied: Proxied, http: httpx.Client) -> None:
    html = http.get("/docs").text

    addresses = re.findall(r'(?:href|src)="(/[^"]*)"', html) + re.findall(r"url: '([^']*)'", html)
    assert len(addresses) == 4
    for address in addresses:
        assert http.get(host_of(proxied) + address).status_code == 200
    assert http.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]


def test_assets_are_kept_and_answers_are_not(http: httpx.Client) -> None:
    (sheet,) = re.findall(r'href="([^"]*dashboard\.css[^"]*)"', http.get("/sign-in").text)

    kept = http.get(sheet.removeprefix(PREFIX))
    documentation = http.get("/docs/assets/swagger-ui.css")

    assert kept.headers["Cache-Control"].startswith("public")
    assert "no-store" not in documentation.headers.get("Cache-Control", "")
    assert http.get("/v1/models").headers["Cache-Control"] == "no-store"


def test_a_session_is_of_the_path_alone_and_leads_back_to_what_was_wanted(proxied: Proxied, http: httpx.Client) -> None:
    wanted = http.get("/jobs/new?kind=campaign")
    signed_in = http.post("/sign-in", data={"key": proxied.key, "next": "/jobs/new"})

    assert wanted.headers["Location"] == f"{PREFIX}/sign-in?next=/jobs/new%3Fkind%3Dcampaign"
    assert signed_in.headers["Location"] == f"{PREFIX}/jobs/new"
    assert f"Path={PREFIX}/" in signed_in.headers["Set-Cookie"]
    assert http.get("/jobs/new").status_code == 200


def test_monitors_that_go_round_the_proxy_find_it_too(proxied: Proxied) -> None:
    assert httpx.get(f"{proxied.direct_url}/healthz").status_code == 200
