"""The real API on a loopback port, with everything behind it but a worker."""

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from structlog.testing import capture_logs

from api.http.serving import ListeningServer
from api.settings import Settings
from db.queries import claims, keys
from db.session import Database
from domain.attempts import Outcome
from padserve import Client
from tests.api.apps import create_app, take_back
from tests.builders import DIGEST, a_model

MODEL = "hub/tiny-model"
CANDIDATES = [
    {"token_id": 1, "text": "HI", "base_log_probability": -0.1, "reward": -1.0, "guided_log_probability": -2.0},
    {"token_id": 2, "text": "HO", "base_log_probability": -2.0, "reward": 1.0, "guided_log_probability": -0.1},
]
NUMBERS = {"log_probability": -2.5, "reward": 1.0, "strength": 0.5, "kl": 0.2, "is_changed": True}
INSIGHT: dict[str, object] = {
    "strength": 1.0,
    "max_kl": 0.2,
    "principles": [],
    "tokens": [{"token_id": 2, "text": "HO", "candidates": CANDIDATES, **NUMBERS}],
}
"""What every text's tokens were guided by."""


@dataclass(frozen=True)
class Server:
    """A running API, and the database behind it."""

    url: str
    api_key: str
    database: Database

    def client(self) -> Client:
        return Client(self.url, self.api_key, max_retries=0)

    def decode(self, num_items: int, *, error_code: str | None = None) -> None:
        """Do a worker's part for the next items: each gets its prompt in capitals, or the error."""
        owner = uuid.uuid4()
        with self.database.transaction() as session:
            claimed = claims.claim(session, owner=owner, model_digest=DIGEST, limit=num_items, lease_seconds=60)
        assert len(claimed) == num_items
        outcomes = [
            Outcome(item.item_id, item.attempt, error_code=error_code, error_message="No.")
            if error_code
            else Outcome(
                item.item_id,
                item.attempt,
                text=str(item.messages[-1]["content"]).upper(),
                finish_reason="stop",
                num_prompt_tokens=3,
                num_completion_tokens=4,
                token_rewards=INSIGHT if item.sampling.get("token_rewards") else None,
            )
            for item in claimed
        ]
        with self.database.transaction() as session:
            claims.save(session, owner=owner, outcomes=outcomes)


@contextmanager
def running_api(database: Database, redis_url: str) -> Iterator[Server]:
    """The API in a thread of this process, with one tenant and one key."""
    with database.transaction() as session:
        tenant = keys.create_tenant(session, "default")
        _, api_key = keys.create_key(session, tenant.id, "test", ["admin"])
    database_url = database.url.render_as_string(hide_password=False)
    a_model(database, MODEL)
    settings = Settings(database_url=database_url, redis_url=redis_url, webhook_private_addresses=True)
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings, database=database)
    config = uvicorn.Config(app, log_config=None, access_log=False)
    running = ListeningServer(config, app.state.services.listeners)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with capture_logs():  # the terminal is the command line's
            yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", api_key, database)
    finally:
        running.should_exit = True
        thread.join()
        listener.close()
        take_back()
