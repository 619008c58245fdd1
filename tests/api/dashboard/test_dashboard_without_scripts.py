"""Pages in a browser without scripts: a form is answered with a whole page that shows what was asked for."""

import re
from html import unescape

import pytest
from fastapi import Request
from sqlalchemy import update

from api.dashboard import preview, strength, teaching
from api.http.dependencies import Caller, Scope, Services
from api.profiles.preview_schemas import PreviewedText, ProfilePreviewIn, ProfilePreviewOut, Variant
from db.registry_models import Worker
from domain.states import WorkerState
from tests.api.conftest import Api
from tests.api.dashboard.test_dashboard import HOST, Visitor
from tests.builders import a_description

TOKEN = {"token_id": 7, "log_probability": -1.0, "reward": 0.5, "strength": 1.0, "kl": 0.1, "is_changed": False}
CANDIDATE = {"token_id": 7, "text": "tea", "base_log_probability": 0.0, "reward": 0.5, "guided_log_probability": 0.0}


async def answered(
    _request: Request, _caller: Caller, _services: Services, user_id: str, body: ProfilePreviewIn
) -> ProfilePreviewOut:
    """What a worker would write: each text says what it was asked for; the principles speak for it by its length."""
    texts = []
    for variant in body.variants or [Variant()]:
        said = body.text or f"<b>{variant.strength}{'!' * ((body.seed or 0) % 7)} model {body.model}"
        principles = [{"text": "formal", "log_ratio": len(said)}, {"text": "brief", "log_ratio": -len(said)}]
        ended = {**TOKEN, "text": "", "is_end": True, "candidates": [CANDIDATE]}
        tokens = [{**TOKEN, "text": said, "candidates": [CANDIDATE]}, ended]
        rewards = {"strength": 1.0, "max_kl": None, "principles": principles, "tokens": tokens}
        nothing = dict.fromkeys(("method", "strength", "max_kl", "reward", "kl", "error"))
        shown = {"strength": variant.strength}
        texts.append({**nothing, **shown, "text": said, "finish_reason": "stop", "token_rewards": rewards})
    data = [PreviewedText.model_validate(each) for each in texts]
    return ProfilePreviewOut.model_construct(user_id=user_id, profile_version=1, model="m", data=data, complete=True)


@pytest.fixture
def visitor(api: Api, monkeypatch: pytest.MonkeyPatch) -> Visitor:
    for module in (preview, strength, teaching):
        monkeypatch.setattr(module, "previewed", answered)
    body = {"principles": ["formal", "brief"], "learn": True}
    assert api.client().put("/v1/profiles/ada", json=body).status_code == 201
    return Visitor(api, api.key(*Scope))


def page(visitor: Visitor, path: str, **fields: str) -> str:
    answer = visitor.client.post(path, data={"csrf": visitor.csrf, **fields}, headers=HOST)
    assert answer.status_code == 200
    assert "<b>" not in answer.text
    assert "<h1>" in answer.text
    return answer.text


def test_a_preview_is_the_page_with_every_text_and_the_form_as_it_was(visitor: Visitor) -> None:
    html = page(visitor, "/profiles/ada/preview", prompt="about <tea>", strengths="1, 2", max_tokens="9")

    assert re.findall(r'<h2 id="try-\d">([^<]*)', html) == [
        *("Unguided", "Only asked for", "Guided, strength 1", "Guided, strength 2")
    ]
    assert html.count('aria-label="end of the text, reward +0.50"') == 4
    assert "about &lt;tea&gt;</textarea>" in html
    assert 'value="1, 2"' in html
    assert "Is being written" not in html


def test_a_question_and_its_answer_are_pages(api: Api, visitor: Visitor) -> None:
    asked = page(visitor, "/profiles/ada/teach/texts", prompt="tea")
    fields = {
        name: unescape(value) for name, value in re.findall(r'name="(asking|first|second)" value="([^"]*)"', asked)
    }

    told = page(visitor, "/profiles/ada/teach/choose", preferred="first", **fields)

    assert asked.count("is better</button>") == 2
    assert "Kept." in told
    assert api.client().get("/v1/profiles/ada/feedback").json()["num_pairs"] == 1


def test_where_several_models_are_served_the_chosen_one_writes_and_judges(api: Api, visitor: Visitor) -> None:
    api.serve("other", a_description("e" * 64))
    api.serve("stopped", a_description("f" * 64))
    with api.database.transaction() as session:
        session.execute(update(Worker).where(Worker.model == "stopped").values(state=WorkerState.STOPPED))

    offered = visitor.client.get("/profiles/ada/teach").text
    asked = page(visitor, "/profiles/ada/teach/texts", prompt="tea", model="other")
    fields = {
        name: unescape(value) for name, value in re.findall(r'name="(asking|first|second)" value="([^"]*)"', asked)
    }
    told = page(visitor, "/profiles/ada/teach/choose", preferred="first", **fields)

    assert re.findall(r"<option>([^<]*)", offered) == ["hub/tiny-model", "other", "stopped"]
    assert "model other" in asked
    assert "<option selected>other" in asked
    assert "Kept." in told
    assert "<option selected>other" in told


def test_strengths_are_all_shown_with_the_models_own_among_them(visitor: Visitor) -> None:
    html = page(visitor, "/strength/texts", user_id="ada", model="", own="4", prompt="tea")

    assert re.findall(r"<p class=\"hint\">Strength ([\d.]+)</p>", html) == ["0", "0.5", "1", "1.5", "2", "3", "4"]
    assert " hidden>" not in html[html.index('id="slides"') :].split("</section>")[0]
