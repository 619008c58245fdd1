"""Results over connections that break, and texts that hold whatever a model writes."""

import json
from collections.abc import Iterator

import httpx
import pytest

from padserve import IncompleteResultsError, UnreachableError
from tests.padserve.scripted_server import Script


def result_line(position: int, text: str) -> bytes:
    row: dict[str, object] = {
        "custom_id": str(position),
        "position": position,
        "user_id": "ada",
        "state": "succeeded",
        "profile_version": 1,
        "preference_hash": "f00",
        "text": text,
    }
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


class BrokenStream(httpx.SyncByteStream):
    """Brings some bytes, then breaks."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx.RemoteProtocolError("peer closed connection")


def test_results_go_on_after_the_last_line_when_the_connection_breaks() -> None:
    cut = result_line(0, "a") + result_line(1, "b") + result_line(2, "c")[:9]
    broken = httpx.Response(200, stream=BrokenStream(cut))
    script = Script([broken, httpx.Response(200, content=result_line(2, "c"))])

    texts = [result.text for result in script.client().results("0190")]

    assert texts == ["a", "b", "c"]
    assert script.requests[1].url.params["after"] == "1"


def test_results_that_never_arrive_are_an_error_in_the_end() -> None:
    script = Script([httpx.Response(200, stream=BrokenStream()) for _ in range(3)])

    with pytest.raises(UnreachableError, match="broke"):
        list(script.client(max_retries=2).results("0190"))


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\r"])
def test_only_a_line_feed_ends_a_line_of_results(separator: str) -> None:
    script = Script([httpx.Response(200, content=result_line(0, f"one{separator}two"))])

    (result,) = script.client().results("0190")

    assert result.text == f"one{separator}two"


def test_results_of_a_job_that_has_not_ended_are_given_only_to_those_who_ask_for_a_part() -> None:
    answers = [httpx.Response(200, content=result_line(0, "a"), headers={"X-Incomplete": "true"}) for _ in range(2)]
    client = Script([*answers]).client()

    with pytest.raises(IncompleteResultsError, match="Job 0190 has not ended"):
        next(client.results("0190"))

    assert [result.text for result in client.results("0190", partial=True)] == ["a"]
