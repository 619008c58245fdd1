"""What the client does with answers and with none: a scripted server stands in for HTTP, pauses are recorded."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from padserve import (
    ApiError,
    AuthenticationError,
    Client,
    ConflictError,
    InvalidRequestError,
    JobTimeoutError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    SettingsError,
    SourceError,
    UnreachableError,
)
from tests.padserve.scripted_server import Script, a_job, problem

ITEM = {"custom_id": "1", "user_id": "ada", "prompt": "Hello"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (409, ConflictError),
        (412, ConflictError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
        (500, ServerError),
    ],
)
def test_a_refusal_is_raised_by_its_kind_with_code_and_detail_and_not_repeated(
    status: int, kind: type[ApiError]
) -> None:
    script = Script([problem(status, "the_code")])

    with pytest.raises(kind, match=r"^Because\.$") as caught:
        script.client().job("0190")

    assert (caught.value.status, caught.value.code) == (status, "the_code")
    assert len(script.requests) == 1


def test_every_wrong_line_is_on_the_error_and_the_number_of_those_left_out() -> None:
    wrong = {"line": 3, "pointer": "/user_id", "code": "unknown_user", "message": "There is no profile."}
    body = {"code": "invalid_request", "detail": "2 things are wrong.", "errors": [wrong], "num_errors": 2}
    script = Script([httpx.Response(422, json=body, headers={"X-Request-ID": "abc"})])

    with pytest.raises(InvalidRequestError) as caught:
        script.client().submit([ITEM])

    assert str(caught.value.errors[0]) == "line 3, /user_id: There is no profile."
    assert caught.value.errors[0].code == "unknown_user"
    assert (caught.value.num_errors, caught.value.request_id) == (2, "abc")


def test_an_answer_that_is_no_problem_document_is_an_error_all_the_same() -> None:
    script = Script([httpx.Response(500, text="<html>oops</html>")])

    with pytest.raises(ServerError, match="The server answered 500") as caught:
        script.client().job("0190")

    assert caught.value.code == "http_500"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again_after_longer_and_longer_pauses(status: int) -> None:
    script = Script([problem(status, "busy"), problem(status, "busy"), problem(status, "busy"), a_job()])

    job = script.client().job("0190")

    assert job.id == "0190"
    assert script.pauses == sorted(script.pauses)
    assert all(longest * 0.75 <= pause <= longest for pause, longest in zip(script.pauses, (0.5, 1, 2), strict=True))


def test_the_server_may_say_how_long_to_wait() -> None:
    script = Script([problem(429, "busy", **{"Retry-After": "7"}), a_job()])

    script.client().job("0190")

    assert script.pauses == [7]


def test_a_wait_of_more_than_a_minute_is_left_to_the_caller() -> None:
    script = Script([problem(429, "busy", **{"Retry-After": "3600"})])

    with pytest.raises(RateLimitedError):
        script.client().job("0190")

    assert script.pauses == []


def test_the_server_may_forbid_and_ask_for_a_repetition() -> None:
    forbidden = Script([problem(503, "no", **{"x-should-retry": "false"})])
    asked_for = Script([problem(409, "again", **{"x-should-retry": "true"}), a_job()])

    with pytest.raises(ServerError):
        forbidden.client().job("0190")
    asked_for.client().job("0190")

    assert (len(forbidden.requests), len(asked_for.requests)) == (1, 2)


def test_after_the_last_repetition_the_error_is_raised() -> None:
    script = Script([problem(503, "busy")] * 3)

    with pytest.raises(ServerError):
        script.client(max_retries=2).job("0190")

    assert len(script.pauses) == 2


def test_a_server_that_does_not_answer_is_named_in_one_line() -> None:
    script = Script([httpx.ConnectError("Connection refused")])

    with pytest.raises(UnreachableError, match=r"^No answer from http://padserve.test: Connection refused\.$"):
        script.client(max_retries=0).job("0190")


def test_a_submission_whose_answer_was_lost_is_sent_again_whole_under_the_same_key() -> None:
    script = Script([httpx.ReadTimeout("too slow"), problem(502, "gateway"), a_job()])
    items: Iterator[dict[str, str]] = iter([ITEM, {**ITEM, "custom_id": "2"}])

    script.client().submit(items)

    assert len({request.headers["Idempotency-Key"] for request in script.requests}) == 1
    assert len({request.content for request in script.requests}) == 1
    assert [json.loads(line)["custom_id"] for line in script.requests[-1].content.splitlines()] == ["1", "2"]


def test_two_submissions_have_two_keys() -> None:
    script = Script([a_job(), a_job()])

    with script.client() as client:
        client.submit([ITEM])
        client.submit([ITEM])

    assert len({request.headers["Idempotency-Key"] for request in script.requests}) == 2


def test_what_items_leave_unsaid_is_sent_in_a_first_line_of_its_own() -> None:
    script = Script([a_job()])

    script.client().submit([ITEM], defaults={"method": "pad"}, metadata={"name": "spring"})

    first, *rest = script.requests[0].content.splitlines()
    assert json.loads(first) == {"defaults": {"method": "pad"}, "metadata": {"name": "spring"}}
    assert [json.loads(line) for line in rest] == [ITEM]


def test_an_item_that_is_not_json_and_a_file_that_is_not_there_never_leave_this_side() -> None:
    client = Script([]).client()

    with pytest.raises(SourceError, match="not JSON"):
        client.submit([{"prompt": float("nan")}])
    with pytest.raises(SourceError, match=r"Cannot read /no/such\.ndjson: No such file or directory"):
        client.submit("/no/such.ndjson")


def test_a_job_is_waited_for_until_it_has_ended_with_every_state_shown() -> None:
    script = Script([a_job(), a_job(state="running"), a_job(state="completed")])
    seen: list[str] = []

    job = script.client().wait("0190", on_progress=lambda job: seen.append(job.state))

    assert job.has_ended
    assert seen == ["queued", "running", "completed"]
    assert script.pauses == sorted(script.pauses)


def test_a_wait_can_be_limited() -> None:
    with pytest.raises(JobTimeoutError, match="0 of 1 items"):
        Script([a_job()]).client().wait("0190", timeout_seconds=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.profiles.get("a/b ü?"),
        lambda client: client.profiles.put("a/b ü?"),
        lambda client: client.profiles.delete("a/b ü?"),
    ],
    ids=["get", "put", "delete"],
)
def test_a_user_id_is_one_part_of_the_path(call: Callable[[Client], object]) -> None:
    script = Script([problem(404, "not_found")])

    with pytest.raises(NotFoundError):
        call(script.client())

    assert script.requests[0].url.raw_path == b"/v1/profiles/a%2Fb%20%C3%BC%3F"


def test_a_client_without_a_server_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PADSERVE_URL", raising=False)

    with pytest.raises(SettingsError, match="PADSERVE_URL and PADSERVE_API_KEY"):
        Client()
