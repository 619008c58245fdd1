"""Requests as clients write them, and batches made of them."""

import uuid
from collections.abc import Sequence
from typing import Any

from anthropic import Anthropic
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from sqlalchemy import select

from db.models import Item, Preference
from domain.json_values import JsonObject
from tests.openai.conftest import MODEL, Site

Json = dict[str, Any]


def params(content: object = "write about tea", **said: object) -> Json:
    """Valid parameters; what is None is left out."""
    asked = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": content}], **said}
    return {name: value for name, value in asked.items() if value is not None}


def a_request(custom_id: str = "a", content: object = "write about tea", **said: object) -> Any:  # noqa: ANN401 - the client's
    return {"custom_id": custom_id, "params": params(content, **said)}


def a_batch(client: Anthropic, *requests: object, **options: Any) -> MessageBatch:  # noqa: ANN401 - the client's
    asked: Any = list(requests or (a_request(),))
    return client.messages.batches.create(requests=asked, **options)


def counts_of(batch: MessageBatch) -> Json:
    """The counters that are not 0."""
    return {name: number for name, number in batch.request_counts.model_dump().items() if number}


def results_of(client: Anthropic, batch: MessageBatch) -> list[MessageBatchIndividualResponse]:
    return list(client.messages.batches.results(batch.id))


def job_of(batch: MessageBatch) -> uuid.UUID:
    return uuid.UUID((batch.model_extra or {})["job_id"])


def items_of(site: Site, batch: MessageBatch) -> Sequence[Item]:
    with site.database.reading() as session:
        return session.scalars(select(Item).where(Item.job_id == job_of(batch)).order_by(Item.position)).all()


def preference_of(site: Site, item: Item) -> JsonObject:
    with site.database.reading() as session:
        return dict(
            session.scalars(select(Preference.body).where(Preference.hash == item.preference_hash)).first() or {}
        )
