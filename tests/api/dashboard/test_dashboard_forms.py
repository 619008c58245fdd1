"""Forms as people fill them in: numbers that are none, sessions that have ended, browsers without scripts."""

import re
from html import unescape

import pytest

from api.dashboard.formats import place, signed, size
from api.http.dependencies import Scope
from db.queries import workers
from domain.engine_load import EngineLoad
from domain.states import WorkerState
from tests.api.conftest import Api
from tests.api.dashboard.test_dashboard import HOST, ROW, Visitor, lines, put_profile
from tests.api.job_requests import give_profile


@pytest.fixture
def visitor(api: Api) -> Visitor:
    put_profile(api)
    return Visitor(api, api.key(*Scope))


def answer(visitor: Visitor, path: str, **fields: str | list[str]) -> tuple[int, str]:
    sent = visitor.client.post(path, data={"csrf": visitor.csrf, **fields}, headers=HOST)
    return sent.status_code, unescape(sent.text)


@pytest.mark.parametrize("number", ["inf", "nan", "1e999", "2.5", "many"])
@pytest.mark.parametrize("path", ["/profiles/ada/preview", "/jobs/new"])
def test_a_number_that_is_none_is_told_beside_its_fields_name(visitor: Visitor, path: str, number: str) -> None:
    status, html = answer(visitor, path, rows=lines(ROW), prompt="tea", strengths="1", max_tokens=number)

    assert status == 422
    assert "Most tokens: \N{LEFT DOUBLE QUOTATION MARK}" + number in html


def test_a_share_is_held_out_in_percent_and_0_is_nobody(visitor: Visitor) -> None:
    assert answer(visitor, "/jobs/new", rows=lines(ROW), holdout="0")[0] == 200
    assert answer(visitor, "/jobs/new", rows=lines(ROW), holdout="12,5")[0] == 200
    status, html = answer(visitor, "/jobs/new", rows=lines(ROW), holdout="100")

    assert status == 422
    assert "Hold out: 0 or more is allowed, and less than 100." in html


def test_a_user_id_that_cannot_be_one_is_told_beside_its_field_and_kept(visitor: Visitor) -> None:
    status, html = answer(visitor, "/profiles", user_id="a/b")

    assert status == 422
    assert 'value="a/b"' in html
    assert "User id: Printable characters without '/'" in html


def test_what_is_wrong_with_a_profile_names_the_principle(visitor: Visitor) -> None:
    status, html = answer(visitor, "/profiles/ada", principle="formal", weight="-1", etag="x")

    assert "Principle 1, weight: Must be greater than or equal to 0." in html
    assert "errors` says" not in html
    assert status == 200


def test_a_form_that_is_sent_when_its_session_has_ended_is_kept_and_offered_again(api: Api, visitor: Visitor) -> None:
    edited = {"csrf": visitor.csrf, "principle": "<b>very formal", "weight": "2", "tags": "a, b"}
    etag = re.search(r'name="etag" value="([^"]*)"', visitor.client.get("/profiles/ada").text)
    assert etag is not None
    visitor.client.cookies.clear()

    ended = visitor.client.post("/profiles/ada", data={**edited, "etag": unescape(etag[1])}, headers=HOST)
    assert ended.status_code == 401
    assert api.client().get("/v1/profiles/ada").json()["version"] == 1
    carried = dict(re.findall(r'name="(kept\w*)" value="([^"]*)"', ended.text))
    kept = {name: unescape(value) for name, value in carried.items()}
    offered = visitor.client.post("/sign-in", data={"key": api.key(*Scope), **kept}, headers=HOST)
    fields = {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', offered.text)}

    assert "<b>" not in offered.text
    assert fields["csrf"] != edited["csrf"]
    assert visitor.client.post("/profiles/ada", data=fields, headers=HOST).status_code == 303
    stored = api.client().get("/v1/profiles/ada").json()
    assert stored["principles"] == [{"text": "<b>very formal", "weight": 2.0}]
    assert stored["tags"] == ["a", "b"]


def test_nothing_is_kept_of_a_form_from_another_site_or_of_a_script(visitor: Visitor) -> None:
    visitor.client.cookies.clear()
    fields = {"principle": "formal"}

    foreign = visitor.client.post("/profiles/ada", data=fields, headers={"Origin": "https://evil.example"})
    of_script = visitor.client.post("/profiles/ada", data=fields, headers={**HOST, "HX-Request": "true"})

    assert (foreign.status_code, "kept" in foreign.text) == (403, False)
    assert (of_script.status_code, of_script.text) == (401, "")


def test_a_page_that_was_asked_for_with_a_search_is_gone_back_to_with_it(visitor: Visitor) -> None:
    visitor.client.cookies.clear()

    assert visitor.client.get("/?state=failed").headers["location"] == "/sign-in"
    sent_on = visitor.client.get("/profiles?find=ad&tag=x").headers["location"]

    assert visitor.client.get(sent_on).text.count('value="/profiles?find=ad&amp;tag=x"') == 1


def test_the_page_of_models_shows_how_full_each_engine_is(api: Api, visitor: Visitor) -> None:
    worker_id = api.serve()
    load = EngineLoad(8, num_active=3, num_waiting=2, cache_bytes_used=2**29, cache_bytes_budget=2**30)
    with api.database.transaction() as session:
        workers.report(session, worker_id=worker_id, state=WorkerState.READY, load=load)

    html = visitor.client.get("/models").text

    assert "3 of 8" in html
    assert "2 wait" in html
    assert "512 MiB" in html
    assert "of 1 GiB" in html


def test_an_idle_worker_has_nothing_in_use_of_what_its_cache_may_take(api: Api, visitor: Visitor) -> None:
    with api.database.transaction() as session:
        load = EngineLoad(num_slots=8, cache_bytes_budget=2**30)
        workers.report(session, worker_id=api.serve(), state=WorkerState.READY, load=load)

    html = visitor.client.get("/models").text

    assert "0 of 8" in html
    assert '0 B<span class="sub">of 1 GiB</span>' in html


def test_a_column_that_is_no_field_is_given_one_in_the_form(visitor: Visitor) -> None:
    table = {"rows": "Customer,Text,Notes\nada,Write about tea.,x\n"}

    status, html = answer(visitor, "/jobs/new", **table)

    assert status == 422
    assert "Say below what each holds" in html
    assert "column=COLUMN" not in html
    offered = set(re.findall(r'<option value="(\w+=\w*)"', html))
    assert {"Customer=user_id", "Text=prompt", "Notes="} <= offered
    chosen = ["Customer=user_id", "Text=prompt", "Notes=", "Gone=method"]
    status, html = answer(visitor, "/jobs/new", **table, column=chosen)
    assert status == 200
    assert "Everything is right" in html
    assert '<option value="Text=prompt" selected>' in html  # what was chosen is sent along with the next
    assert answer(visitor, "/jobs/new", **table, column=chosen, do="submit")[0] == 303


def test_a_check_of_a_campaign_says_who_reads_a_default(api: Api, visitor: Visitor) -> None:
    give_profile(api.client(), "zoe", attributes={"first_name": "Zoe"})
    prompt = "For {frist_name|a friend} {first_name|dear}"

    status, html = answer(visitor, "/jobs/new", kind="campaign", audience="all", prompt=prompt, do="check")

    assert status == 200
    assert "Everybody gets the default of <code>frist_name</code>: nobody has a value for it." in html
    assert "1 of 2 users get the default of <code>first_name</code>." in html


def test_rows_of_json_in_a_file_called_csv_are_read_as_what_they_are(visitor: Visitor) -> None:
    fields = {"csrf": visitor.csrf, "kind": "rows", "do": "submit"}
    file = ("rows.csv", lines(ROW).encode(), "text/csv")

    sent = visitor.client.post("/jobs/new", data=fields, files={"file": file}, headers=HOST)

    assert sent.status_code == 303


def test_a_file_of_a_form_whose_session_has_ended_is_asked_for_again(api: Api, visitor: Visitor) -> None:
    fields = {"csrf": visitor.csrf, "kind": "rows", "name": "Spring letter"}
    visitor.client.cookies.clear()

    file = ("rows.ndjson", lines(ROW).encode())
    ended = visitor.client.post("/jobs/new", data=fields, files={"file": file}, headers=HOST)
    carried = dict(re.findall(r'name="(kept\w*)" value="([^"]*)"', ended.text))
    kept = {name: unescape(value) for name, value in carried.items()}
    offered = visitor.client.post("/sign-in", data={"key": api.key(*Scope), **kept}, headers=HOST).text

    assert 'name="file" type="file" required' in offered
    assert "choose that again" in offered
    assert 'value="Spring letter"' in offered


def test_a_form_that_is_too_large_to_be_kept_says_so(visitor: Visitor) -> None:
    fields = {"csrf": visitor.csrf, "rows": "x" * 200_000}
    visitor.client.cookies.clear()

    assert "too large to be kept" in visitor.client.post("/jobs/new", data=fields, headers=HOST).text


def test_a_script_signs_in_and_learns_the_token_of_the_session_without_leaving_its_page(
    api: Api, visitor: Visitor
) -> None:
    script = {**HOST, "HX-Request": "true"}
    visitor.client.cookies.clear()
    assert visitor.client.get("/session", headers=script).headers["hx-redirect"] == "/sign-in"

    wrong = visitor.client.post("/sign-in", data={"key": "pad_wrong"}, headers=script)
    right = visitor.client.post("/sign-in", data={"key": api.key(*Scope)}, headers=script)

    assert (wrong.status_code, wrong.json()) == (401, {"error": "This API key is unknown, expired or revoked."})
    assert right.json() == {"csrf": visitor.csrf, "tenant": "acme", "key_name": "test"}
    assert visitor.client.get("/session", headers=script).json() == right.json()


def test_the_head_of_an_open_profile_says_which_version_there_is_now(api: Api, visitor: Visitor) -> None:
    assert "Version 1" in visitor.client.get("/profiles/ada/live/head?shown=1").text
    api.client().put("/v1/profiles/ada", json={"principles": ["playful"]})

    head = visitor.client.get("/profiles/ada/live/head?shown=1").text

    assert "Version 2" in head
    assert "still shows version 1" in head
    assert "still shows" not in visitor.client.get("/profiles/ada/live/head").text


def test_numbers_are_written_as_people_read_them() -> None:
    assert [signed(value) for value in (1.234, -0.5, -0.001, 0.0)] == ["+1.23", "\N{MINUS SIGN}0.50", "0.00", "0.00"]
    assert [size(value) for value in (None, 0, 1536, 3 * 2**40)] == ["\N{EN DASH}", "0 B", "1.5 KiB", "3 TiB"]
    assert [place(pointer) for pointer in ("", "/defaults/strength", "/principles/3/weight", "/tags/0")] == [
        "",
        "Strength",
        "Principle 4, weight",
        "Tags 1",
    ]
