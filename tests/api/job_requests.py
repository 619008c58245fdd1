"""Jobs as clients write them, and what is looked up afterwards."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from httpx2 import Response
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from db.idempotency_models import IdempotencyRecord
from db.models import Item, Job, Preference, Result
from db.queries import counters
from db.session import Database, now
from domain.states import ItemState

NDJSON_HEADERS = {"Content-Type": "application/x-ndjson"}
Json = dict[str, Any]
Headers = Mapping[str, str]


def an_item(custom_id: str = "a", user_id: str = "ada", **fields: object) -> Json:
    """One valid item; give `prompt=None` and `messages` for a conversation."""
    item = {"custom_id": custom_id, "user_id": user_id, "prompt": "Write about tea.", **fields}
    return {name: value for name, value in item.items() if value is not None}


def give_profile(client: TestClient, user_id: str = "ada", *principles: object, **fields: object) -> None:
    body = {"principles": list(principles or ("humor",)), **fields}
    assert client.put(f"/v1/profiles/{user_id}", json=body).status_code in {200, 201}


def submit(
    client: TestClient, *items: Mapping[str, object], headers: Headers | None = None, **options: object
) -> Response:
    return client.post("/v1/jobs", json={"items": list(items), **options}, headers=headers)


def submit_lines(client: TestClient, *lines: object, headers: Headers | None = None) -> Response:
    """Lines that are text go out as they are, others as JSON."""
    body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return client.post("/v1/jobs", content=body.encode(), headers={**NDJSON_HEADERS, **(headers or {})})


def accepted(response: Response) -> uuid.UUID:
    """The id of the job, which must have been accepted."""
    assert response.status_code == 202, response.text
    return uuid.UUID(response.json()["id"])


def a_job_of(client: TestClient, num_items: int) -> uuid.UUID:
    """The id of a job of ada's. Its names sort against the input order, so that no other order passes for it."""
    return accepted(submit_lines(client, *[an_item(f"item-{num_items - number}") for number in range(num_items)]))


def errors_of(response: Response) -> list[tuple[str, str]]:
    """The (code, pointer) of everything that was wrong; the job must have been refused."""
    assert response.status_code == 422, response.text
    return [(error["code"], error["pointer"]) for error in response.json()["errors"]]


def line_errors_of(response: Response) -> list[tuple[int, str, str]]:
    """The (line, code, pointer) of everything that was wrong."""
    assert response.status_code == 422, response.text
    return [(error["line"], error["code"], error["pointer"]) for error in response.json()["errors"]]


def items_of_job(database: Database, job_id: uuid.UUID) -> Sequence[Item]:
    with database.reading() as session:
        return session.scalars(select(Item).where(Item.job_id == job_id).order_by(Item.position)).all()


def preference_of(database: Database, item: Item) -> Json:
    """The preference that an item was pinned to."""
    with database.reading() as session:
        query = select(Preference.body).join(Job, Job.tenant_id == Preference.tenant_id)
        return dict(session.scalars(query.where(Job.id == item.job_id, Preference.hash == item.preference_hash)).one())


def num_stored(database: Database) -> dict[str, int]:
    """How many rows there are of whatever a submission may leave behind."""
    with database.reading() as session:
        return {
            table.__tablename__: session.scalars(select(func.count()).select_from(table)).one()
            for table in (Job, Item, Preference, IdempotencyRecord)
        }


NOTHING = {"jobs": 0, "items": 0, "preferences": 0, "idempotency_records": 0}


def end_item(
    database: Database, job_id: uuid.UUID, position: int, state: ItemState = ItemState.SUCCEEDED, text: str = "text"
) -> None:
    """End one item as a worker would have, whatever its state."""
    failure = {"error_code": "poison", "error_message": "It cannot be decoded."}
    success = {"text": text, "finish_reason": "stop", "num_prompt_tokens": 7, "num_completion_tokens": 5, "reward": 0.5}
    with database.transaction() as session:
        at_position = (Item.job_id == job_id, Item.position == position)
        item_id, before = session.execute(select(Item.id, Item.state).where(*at_position)).one()
        session.execute(
            update(Item)
            .where(*at_position)
            .values(state=state, attempt=1, finished_at=now(session), lease_owner=None, lease_until=None)
        )
        session.add(Result(item_id=item_id, **(success if state is ItemState.SUCCEEDED else failure)))
        session.flush()
        counters.settle(session, [counters.Moved(item_id, job_id, before, state)])


def set_running(database: Database, job_id: uuid.UUID, *positions: int) -> None:
    """Queued items are being decoded."""
    with database.transaction() as session:
        item_ids = session.scalars(
            update(Item)
            .where(Item.job_id == job_id, Item.position.in_(positions))
            .values(state=ItemState.RUNNING, attempt=1, lease_owner=uuid.uuid4(), lease_until=now(session))
            .returning(Item.id)
        )
        moved = [counters.Moved(item_id, job_id, ItemState.QUEUED, ItemState.RUNNING) for item_id in item_ids]
        counters.settle(session, moved)
