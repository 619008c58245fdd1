"""A worker's part in a streamed answer, done by a thread of the test, and what is looked up beside it."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select

from db.models import Item, Job, Result
from db.queries import claims
from domain.attempts import ClaimedItem, Outcome
from domain.text_pieces import Piece
from tests.builders import DIGEST
from tests.openai.conftest import Site
from worker.pieces import PieceSender

MESSAGES: Any = [{"role": "user", "content": "Write about tea."}]
WORDS = ("Tea ", "is ", "good 🫖.")
TEXT = "".join(WORDS)


class Writer:
    """A worker's part for one item: claims it, says its texts piece by piece, and saves them when told to."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sender = PieceSender(site.settings.redis_url)
        self._said: dict[tuple[int, int], str] = {}
        self.owner = uuid.uuid4()

    def claim(self) -> ClaimedItem:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with self._site.database.transaction() as session:
                claimed = claims.claim(session, owner=self.owner, model_digest=DIGEST, limit=1, lease_seconds=60)
            if claimed:
                return claimed[0]
            time.sleep(0.01)
        raise AssertionError

    def say(self, item: ClaimedItem, *words: str, choice: int = 0) -> None:
        for word in words:
            said = self._said.get((item.attempt, choice), "")
            self._sender.send([Piece(str(item.sampling["listener"]), item.attempt, choice, len(said), word)])
            self._said[item.attempt, choice] = said + word
        assert self._sender.flush(30)

    def begin_again(self, item: ClaimedItem) -> None:
        """As an engine does that takes the place of one that has died."""
        self._said = {key: said for key, said in self._said.items() if key[0] != item.attempt}

    def save(self, item: ClaimedItem, text: str | None = TEXT, **fields: Any) -> None:  # noqa: ANN401 - an Outcome's
        said = {"finish_reason": "stop", "num_prompt_tokens": 3, "num_completion_tokens": 4, **fields}
        with self._site.database.transaction() as session:
            claims.save(session, owner=self.owner, outcomes=[Outcome(item.item_id, item.attempt, text=text, **said)])

    def close(self) -> None:
        self._sender.close()


@contextmanager
def meanwhile(act: Any) -> Iterator[None]:  # noqa: ANN401 - any function without arguments
    """Does it in a thread while the block runs; what it raises is raised at the end of the block."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def num_rows(site: Site) -> list[int]:
    with site.database.reading() as session:
        return [session.scalars(select(func.count()).select_from(table)).one() for table in (Job, Item, Result)]


def wait_for_rows(site: Site, before: Sequence[int]) -> None:
    """Until there are no more rows than before; what an earlier test had left may have gone meanwhile."""
    until = time.monotonic() + 20
    while _are_more(num_rows(site), before) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _are_more(num_rows(site), before)


def _are_more(now: Sequence[int], before: Sequence[int]) -> bool:
    return any(there > was for there, was in zip(now, before, strict=True))
