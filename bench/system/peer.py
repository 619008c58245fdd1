"""The naive design beside it: one Celery task per item, which writes its result by the ORM. The same echo.

`python -m bench.system.peer` is its worker, as Celery starts one if nothing is said: a process for each core.
"""

import os
from functools import cache

from celery import Celery
from sqlalchemy import Integer, String, Text, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.system.worker import echo
from db.session import Database

URL, REDIS = "PADSERVE_DATABASE_URL", "PADSERVE_REDIS_URL"
ITEMS = "peer_items"


class Base(DeclarativeBase):
    """Of the peer's one table."""


class PeerItem(Base):
    """An item and its result."""

    __tablename__ = ITEMS

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    prompt: Mapped[str] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16), index=True)


def create_app(redis_url: str) -> Celery:
    """The application of both sides."""
    app = Celery("peer", broker=redis_url)
    app.conf.update(task_ignore_result=True, broker_transport_options={"global_keyprefix": "peer:"})
    return app


def submit(database: Database, redis_url: str, prompts: list[str]) -> None:
    """Store the items in one transaction, then send a message for each."""
    Base.metadata.create_all(database.engine)
    with database.transaction() as session:
        items = [PeerItem(prompt=prompt, state="queued") for prompt in prompts]
        session.add_all(items)
        session.flush()
        ids = [item.id for item in items]
    app = create_app(redis_url)
    with app.producer_or_acquire() as producer:
        for item_id in ids:
            app.send_task("peer.write", args=[item_id], producer=producer)


def num_unfinished(database: Database) -> int:
    """How many have no result yet."""
    with database.reading() as session:
        return session.scalars(select(func.count()).where(PeerItem.state == "queued")).one()


def main() -> None:
    """Consume until told to end."""
    app = create_app(os.environ[REDIS])

    @cache
    def database() -> Database:  # one in each process
        return Database(os.environ[URL])

    def write(item_id: int) -> None:
        with Session(database().writing_engine) as session, session.begin():
            item = session.get_one(PeerItem, item_id)
            item.text = echo([{"content": item.prompt}])
            item.state = "succeeded"

    app.task(name="peer.write")(write)
    app.worker_main(["--quiet", "worker", "--loglevel=WARNING", "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main()
