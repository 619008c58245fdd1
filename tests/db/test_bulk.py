"""Many rows at once, past SQLAlchemy, on both databases."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from db.bulk import insert_rows, is_among
from db.models import Item, Result
from db.session import Database
from tests.builders import a_job, preference


def test_ids_are_found_however_many_they_are(database: Database) -> None:
    a_job(database, [preference("formal")] * 5)
    with database.reading() as session:
        ids = session.scalars(select(Item.id).order_by(Item.id)).all()

        def found(*wanted: int) -> list[int]:
            return list(session.scalars(select(Item.id).where(is_among(Item.id, wanted)).order_by(Item.id)))

        assert found() == []
        assert found(ids[3], ids[1], -1) == [ids[1], ids[3]]
        assert found(*ids, *range(10**6, 10**6 + 70_000)) == ids


def test_rows_arrive_as_they_were_given_and_a_refused_one_is_an_error_of_sqlalchemy(database: Database) -> None:
    a_job(database)
    with database.reading() as session:
        (item_id,) = session.scalars(select(Item.id))
    row = (item_id, "tab\t, line\nand \\N", None, "[0.5, null]")
    columns = ("item_id", "text", "error_code", "rewards")

    with database.transaction() as session:
        insert_rows(session, "results", columns, iter([row]))
    with pytest.raises(IntegrityError), database.transaction() as session:
        insert_rows(session, "results", columns, [row])

    with database.reading() as session:
        result = session.scalars(select(Result)).one()
        assert (result.text, result.error_code, result.rewards) == ("tab\t, line\nand \\N", None, [0.5, None])
        assert session.scalars(select(func.count()).select_from(Result)).one() == 1
