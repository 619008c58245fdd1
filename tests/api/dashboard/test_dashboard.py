"""The dashboard without a browser: who gets in, what a form must bring, what is escaped, what other tenants see."""

import json
import re
import uuid
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from api.dashboard.sessions import COOKIE, local_path
from api.dashboard.sign_in import MAX_FAILURES
from api.http.dependencies import Scope
from db.dashboard_models import DashboardSession
from db.queries import claims, keys
from db.session import Database
from domain.attempts import Outcome
from tests.api.conftest import MODEL, Api
from tests.builders import DIGEST

MARKUP = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{777*777}}{% raw %}'
HOST = {"Origin": "http://testserver"}


class Visitor:
    """A browser without scripts."""

    def __init__(self, api: Api, key: str) -> None:
        self.client = api.anonymous_client()
        self.client.follow_redirects = False
        self.signed_in = self.client.post("/sign-in", data={"key": key})

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', self.client.get("/account").text)
        assert found is not None
        return found[1]

    def send(self, path: str, **fields: str) -> int:
        return self.client.post(path, data={"csrf": self.csrf, **fields}, headers=HOST).status_code


@pytest.fixture
def visitor(api: Api) -> Visitor:
    return Visitor(api, api.key(*Scope))


def put_profile(api: Api, user_id: str = "ada", tenant: str = "acme") -> None:
    path = f"/v1/profiles/{quote(user_id)}"
    assert api.client(tenant=tenant).put(path, json={"principles": ["formal"]}).status_code == 201


def submit(api: Api, num_items: int = 3, tenant: str = "acme", **options: object) -> str:
    put_profile(api, tenant=tenant)
    items = [{"custom_id": f"item-{n}", "user_id": "ada", "prompt": f"thing {n}"} for n in range(num_items)]
    answer = api.client(tenant=tenant).post("/v1/jobs", json={"items": items, **options})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def end(database: Database, text: str | None = None, error: str | None = None, *, limit: int = 1000) -> None:
    """Every queued item ends, or the first `limit` of them, with this text or this error."""
    owner = uuid.uuid4()
    with database.transaction() as session:
        claimed = claims.claim(session, owner=owner, model_digest=DIGEST, limit=limit, lease_seconds=60)
    outcomes = [
        Outcome(item.item_id, item.attempt, text=text, finish_reason="stop")
        if text is not None
        else Outcome(item.item_id, item.attempt, error_code="non_finite_logits", error_message=error)
        for item in claimed
    ]
    with database.transaction() as session:
        claims.save(session, owner=owner, outcomes=outcomes)


def test_who_is_not_signed_in_is_sent_to_the_page_to_sign_in_and_back(api: Api) -> None:
    client = api.anonymous_client()
    client.follow_redirects = False

    answer = client.get("/jobs/new")

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/jobs/new")
    signed_in = client.post("/sign-in", data={"key": api.key(*Scope), "next": "/jobs/new"})
    assert signed_in.headers["location"] == "/jobs/new"
    assert client.get("/jobs/new").status_code == 200


def test_the_cookie_is_no_scripts_and_the_database_holds_neither_key_nor_token(api: Api, visitor: Visitor) -> None:
    cookie = visitor.signed_in.headers["set-cookie"].lower()
    token = visitor.client.cookies[COOKIE]

    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie  # plain http
    with api.database.reading() as session:
        (stored,) = session.query(DashboardSession).all()
    assert token not in {stored.token_digest, stored.csrf_secret}


def test_over_https_the_cookie_is_sent_over_nothing_else(api: Api) -> None:
    app = api.anonymous_client().app
    client = TestClient(app, base_url="https://testserver", follow_redirects=False)

    answer = client.post("/sign-in", data={"key": api.key(*Scope)})

    assert "secure" in answer.headers["set-cookie"].lower()


def test_every_page_forbids_inline_scripts_frames_and_caches(visitor: Visitor) -> None:
    for path in ("/", "/jobs/new", "/models", "/account", "/sign-in", f"/jobs/{uuid.uuid4()}"):
        headers = visitor.client.get(path).headers

        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_revoked_key_ends_its_sessions_at_once(api: Api) -> None:
    key = api.key(*Scope)
    visitor = Visitor(api, key)
    assert visitor.client.get("/").status_code == 200

    with api.database.transaction() as session:
        found = keys.caller_of(session, key)
        assert found is not None
        keys.revoke_key(session, found.id)

    assert visitor.client.get("/").headers["location"] == "/sign-in"
    of_script = visitor.client.get("/live/jobs", headers={"HX-Request": "true"})
    assert of_script.headers["hx-redirect"] == "/sign-in"


def test_signing_out_ends_the_session_on_the_server(api: Api, visitor: Visitor) -> None:
    token = visitor.client.cookies[COOKIE]

    assert visitor.send("/sign-out") == 303

    visitor.client.cookies.set(COOKIE, token)
    assert visitor.client.get("/").status_code == 303


def test_after_ten_wrong_keys_even_the_right_one_has_to_wait(api: Api) -> None:
    client = api.anonymous_client()
    for _ in range(MAX_FAILURES):
        assert client.post("/sign-in", data={"key": "pad_wrong"}).status_code == 401

    answer = client.post("/sign-in", data={"key": api.key(*Scope)})

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, HOST),
        ({"csrf": "0" * 64}, HOST),
        (None, {"Origin": "https://evil.example"}),
        (None, {"Origin": "null"}),
        (None, {"Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_a_form_that_is_not_from_one_of_our_pages_does_nothing(
    api: Api, visitor: Visitor, fields: dict[str, str] | None, headers: dict[str, str]
) -> None:
    job_id = submit(api)
    sent = {"csrf": visitor.csrf} if fields is None else fields

    answer = visitor.client.post(f"/jobs/{job_id}/pause", data=sent, headers=headers)

    assert answer.status_code == 403
    assert api.client().get(f"/v1/jobs/{job_id}").json()["paused_at"] is None


def test_buttons_do_what_the_api_does(api: Api, visitor: Visitor) -> None:
    job_id = submit(api)
    status = api.client()

    assert visitor.send(f"/jobs/{job_id}/pause") == 303
    assert status.get(f"/v1/jobs/{job_id}").json()["paused_at"] is not None
    assert visitor.send(f"/jobs/{job_id}/resume") == 303
    assert visitor.send(f"/jobs/{job_id}/priority", priority="interactive") == 303
    assert status.get(f"/v1/jobs/{job_id}").json()["priority"] == "interactive"
    assert visitor.send(f"/jobs/{job_id}/priority", priority="never") == 422
    end(api.database, error="Not finite.")
    assert "non_finite_logits" in visitor.client.get(f"/jobs/{job_id}").text
    assert visitor.send(f"/jobs/{job_id}/retry") == 303
    assert status.get(f"/v1/jobs/{job_id}").json()["counts"]["queued"] == 3
    assert visitor.send(f"/jobs/{job_id}/cancel") == 303
    assert status.get(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"
    assert visitor.send(f"/jobs/{job_id}/explode") == 404
    assert visitor.send(f"/jobs/{job_id}/delete") == 303
    assert status.get(f"/v1/jobs/{job_id}").status_code == 404
    open_page = visitor.client.get(f"/live/jobs/{job_id}", headers={"HX-Request": "true"})
    assert open_page.headers["hx-redirect"] == "/"


def test_what_a_key_may_not_do_is_neither_offered_nor_done(api: Api) -> None:
    job_id = submit(api)
    visitor = Visitor(api, api.key(Scope.JOBS_READ))

    listed = visitor.client.get("/").text

    assert "item" in visitor.client.get(f"/jobs/{job_id}").text
    assert "Pause" not in listed
    assert "New job" not in listed
    assert visitor.send(f"/jobs/{job_id}/pause") == 403
    assert visitor.client.get("/jobs/new").status_code == 403
    assert Visitor(api, api.key(Scope.PROFILES_READ)).client.get("/").headers["location"] != "/"
    assert Visitor(api, api.key(Scope.PROFILES_READ)).client.get("/live/jobs").status_code == 403


def test_principles_are_shown_to_keys_that_may_read_profiles_alone(api: Api) -> None:
    submit(api)

    without = Visitor(api, api.key(Scope.JOBS_READ)).client.get("/models").text
    with_ = Visitor(api, api.key(Scope.JOBS_READ, Scope.PROFILES_READ)).client.get("/models").text

    assert "1 principle" in without
    assert "formal" not in without
    assert "formal" in with_


def test_only_who_administers_sees_other_keys(api: Api) -> None:
    api.key(Scope.JOBS_READ)

    few = Visitor(api, api.key(Scope.JOBS_READ)).client.get("/account").text
    all_ = Visitor(api, api.key(Scope.ADMIN)).client.get("/account").text

    assert few.count('scope="row"') == 1
    assert all_.count('scope="row"') == 3


def test_another_tenant_sees_and_moves_nothing(api: Api) -> None:
    job_id = submit(api, name="secret plan")
    end(api.database, text="a secret text")
    stranger = Visitor(api, api.key(*Scope, tenant="rival"))

    assert "secret plan" not in stranger.client.get("/").text
    for path in (f"/jobs/{job_id}", f"/live/jobs/{job_id}", f"/live/jobs/{job_id}/results"):
        assert stranger.client.get(path).status_code == 404
    assert stranger.client.get(f"/jobs/{job_id}/download?format=csv").status_code == 404
    assert stranger.send(f"/jobs/{job_id}/delete") == 404
    assert stranger.send(f"/jobs/{job_id}/unguided/0") == 404
    assert "secret plan" not in stranger.client.get("/models").text


def test_markup_and_template_syntax_are_shown_as_text_everywhere(api: Api, visitor: Visitor) -> None:
    user_id = MARKUP.rpartition("script>")[2]
    put_profile(api, user_id)
    item = {"custom_id": MARKUP, "user_id": user_id, "prompt": "x"}
    job = api.client().post("/v1/jobs", json={"items": [item], "name": MARKUP, "metadata": {"note": MARKUP}}).json()
    end(api.database, text=MARKUP)
    failed = submit(api, name=f"{MARKUP} failed")
    end(api.database, error=MARKUP)

    paths = [
        "/",
        f"/jobs/{job['id']}",
        f"/jobs/{failed}",
        "/models",
        f"/jobs/{job['id']}?q=%3Cscript%3E&state=succeeded",
    ]
    paths += [f"/?name={MARKUP.replace('%', '%25')}", "/sign-in?next=/%22%3E%3Cscript%3E"]
    for path in paths:
        html = visitor.client.get(path).text
        assert "<script>alert" not in html, path
        assert "<img src=x" not in html, path
        assert "{{777*777}}" in html or "sign-in" in path
        assert str(777 * 777) not in html


def test_results_are_searched_in_whatever_they_say_and_paged_both_ways(api: Api, visitor: Visitor) -> None:
    job_id = submit(api, num_items=60)
    end(api.database, text="100% _plain_ text")
    found = visitor.client.get(f"/jobs/{job_id}?q=item-59").text
    second = visitor.client.get(f"/jobs/{job_id}?after=24").text
    first_again = visitor.client.get(f"/jobs/{job_id}?before=25").text

    assert re.findall(r'id="result-(\d+)"', found) == ["59"]
    assert re.findall(r'id="result-(\d+)"', second) == [str(n) for n in range(25, 50)]
    assert re.findall(r'id="result-(\d+)"', first_again) == [str(n) for n in range(25)]
    assert "result-0" in visitor.client.get(f"/jobs/{job_id}?q=100%25+_PLAIN").text
    assert "result-0" not in visitor.client.get(f"/jobs/{job_id}?q=100_").text
    assert "No result is like this" in visitor.client.get(f"/jobs/{job_id}?state=failed").text


def test_a_part_that_has_not_changed_is_not_sent_again(api: Api, visitor: Visitor) -> None:
    job_id = submit(api)
    version = visitor.client.get("/live/jobs").headers["x-part-version"]

    same = visitor.client.get(f"/live/jobs?seen={version}")
    end(api.database, text="done")

    assert (same.status_code, same.content) == (204, b"")
    assert visitor.client.get(f"/live/jobs?seen={version}").status_code == 200
    assert job_id


def lines(*values: object) -> str:
    return "\n".join(json.dumps(value) for value in values)


ROW = {"custom_id": "a", "user_id": "ada", "prompt": "tea"}


@pytest.mark.parametrize(
    "rows",
    [
        lines(ROW),
        lines({"defaults": {"strength": 0.7}}, ROW),
        "custom_id,user_id,prompt\na,ada,tea\n",
        json.dumps({"items": [ROW]}, indent=1),
    ],
)
def test_rows_are_taken_in_every_form_with_what_the_form_says_for_all(api: Api, visitor: Visitor, rows: str) -> None:
    put_profile(api)

    status = visitor.send("/jobs/new", kind="rows", do="submit", rows=rows, name="From a form", max_tokens="7")

    assert status == 303
    (job,) = api.client().get("/v1/jobs?name=From+a+form").json()["data"]
    assert (job["counts"]["total"], job["model"]) == (1, MODEL)


def test_what_is_wrong_is_told_by_the_line_that_was_pasted_and_nothing_is_lost(api: Api, visitor: Visitor) -> None:
    put_profile(api)
    rows = lines(ROW, {"custom_id": "b", "user_id": "nobody", "prompt": "<b>tea</b>"})
    fields = {"csrf": visitor.csrf, "kind": "rows", "do": "submit", "rows": rows, "name": "Kept"}

    answer = visitor.client.post("/jobs/new", data=fields, headers=HOST)

    assert answer.status_code == 422
    assert 'data-line="2"' in answer.text  # although a line of options was put in front
    assert "There is no profile for this user" in answer.text
    assert "&lt;b&gt;tea&lt;/b&gt;" in answer.text
    assert 'value="Kept"' in answer.text
    assert api.client().get("/v1/jobs").json()["data"] == []


def test_a_form_sent_twice_makes_one_job_and_a_check_makes_none(api: Api, visitor: Visitor) -> None:
    put_profile(api)
    form = {"kind": "rows", "rows": lines(ROW), "form_id": "one"}

    assert visitor.send("/jobs/new", do="check", **form) == 200
    assert visitor.send("/jobs/new", do="submit", **form) == 303
    assert visitor.send("/jobs/new", do="submit", **form) == 303

    assert len(api.client().get("/v1/jobs").json()["data"]) == 1


def test_a_campaign_is_for_whom_the_form_says(api: Api, visitor: Visitor) -> None:
    for user_id in ("ada", "ben", "cleo"):
        put_profile(api, user_id)
    form = {"kind": "campaign", "do": "submit", "prompt": "Write {first_name|you} about tea.", "name": "Campaign"}

    assert visitor.send("/jobs/new", audience="user_ids", user_ids="ada, ben", exclude="ben", **form) == 303

    (job,) = api.client().get("/v1/jobs").json()["data"]
    assert job["counts"]["total"] == 1


def test_webhooks_are_added_with_a_secret_shown_once_tried_and_removed(api: Api, visitor: Visitor) -> None:
    wrong = visitor.client.post(
        "/account/webhooks", data={"csrf": visitor.csrf, "url": "http://127.0.0.1/"}, headers=HOST
    )
    fields = {"csrf": visitor.csrf, "url": "https://93.184.216.34/hook", "event_types": "job.completed"}
    added = visitor.client.post("/account/webhooks", data=fields, headers=HOST)
    again = visitor.client.get("/account").text
    (webhook,) = api.client().get("/v1/webhooks").json()["data"]

    assert wrong.status_code == 422
    assert "whsec_" in added.text
    assert "whsec_" not in again
    assert visitor.send(f"/account/webhooks/{webhook['id']}/test") == 303
    assert "webhook.test" in visitor.client.get(f"/account/webhooks/{webhook['id']}").text
    (delivery,) = api.client().get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["data"]
    assert visitor.send(f"/account/webhooks/{webhook['id']}/deliveries/{delivery['id']}/replay") == 303
    assert visitor.send(f"/account/webhooks/{webhook['id']}/delete") == 303
    assert api.client().get("/v1/webhooks").json()["data"] == []


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "jobs"])
def test_nobody_is_sent_to_another_site(path: str) -> None:
    assert local_path(path) == "/"


def test_an_address_that_is_none_is_a_page_for_browsers_alone(api: Api) -> None:
    client = api.anonymous_client()

    of_browser = client.get("/nothing", headers={"Accept": "text/html,*/*"})
    of_client = client.get("/v1/nothing")

    assert (of_browser.status_code, of_client.status_code) == (404, 404)
    assert of_browser.text.startswith("<!doctype html>")
    assert of_client.json()["code"] == "not_found"
    assert client.get("/sign-out", headers={"Accept": "text/html"}).status_code == 405
