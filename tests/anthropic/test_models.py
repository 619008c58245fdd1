"""The list of models, read by Anthropic's client, and by OpenAI's as before."""

import datetime as dt
from collections.abc import Iterator

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.builders import a_description, a_model
from tests.openai.conftest import ALIAS, MODEL, Site

OTHERS = ["hub/second", "hub/third"]


@pytest.fixture
def three_models(site: Site) -> Iterator[None]:
    for number, name in enumerate(OTHERS):
        a_model(site.database, name, a_description(max_length=100 + number, digest=str(number) * 64))
    yield
    site.forget_models()
    site.serve()


def test_a_model_is_what_the_client_reads(client: Anthropic) -> None:
    (model,) = client.models.list()

    assert (model.id, model.type, model.display_name, model.lifecycle) == (MODEL, "model", MODEL, "active")
    assert isinstance(model.created_at, dt.datetime)
    assert model.max_input_tokens == 4096
    assert client.models.retrieve(ALIAS) == model
    assert client.models.retrieve(MODEL) == model


@pytest.mark.usefixtures("three_models")
def test_the_clients_own_iterator_walks_all_models_both_ways(client: Anthropic) -> None:
    ids = [model.id for model in client.models.list()]

    assert sorted(ids) == sorted([MODEL, *OTHERS])
    assert [model.id for model in client.models.list(limit=1)] == ids
    page = client.models.list(limit=2)
    assert (page.has_more, page.first_id, page.last_id) == (True, ids[0], ids[1])
    assert [model.id for model in client.models.list(after_id=ids[1])] == ids[2:]
    before = client.models.list(before_id=ids[2], limit=1)
    assert ([model.id for model in before.data], before.has_more) == ([ids[1]], True)
    assert client.models.list(after_id="nothing").data == []
    assert client.models.list(before_id="nothing").data == []


def test_openais_client_reads_the_same_list(site: Site) -> None:
    client: OpenAI = site.client()

    (model,) = client.models.list()

    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "padserve")
    assert isinstance(model.created, int)
