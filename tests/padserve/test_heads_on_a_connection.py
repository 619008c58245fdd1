"""HEAD on a connection that is kept, as load balancers and monitors have it: only a real server frames an answer."""

import httpx
import pytest

from tests.padserve.running_api import Server


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/v1/jobs", "/docs", "/v1/profiles:export", "/v1/nothing", "/static/padserve.css", "/"],
)
def test_an_answer_after_a_head_is_its_own(server: Server, path: str) -> None:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.api_key}"}) as client:
        for _ in range(2):
            head = client.head(path)
            following = client.get("/healthz")

            assert (head.content, following.json()) == (b"", {"status": "alive"})
            connections = {id(answer.extensions["network_stream"]) for answer in (head, following)}
            assert len(connections) == 1
