"""A short chaos run, on both databases: everything is hurt for a while, and every promise is kept.

The long one is `make chaos`.
"""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.chaos.databases import postgresql_of_others, sqlite
from tests.chaos.jobs import Kind
from tests.chaos.run import Plan, run
from tests.chaos.stack import LEASE_SECONDS

PLAN = Plan(seed=11, num_items=440, seconds=16, num_jobs=11, num_workers=2)

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_promise_is_kept_while_everything_is_killed_paused_and_flushed(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    if kind == "sqlite":
        database = sqlite(Path(str(make_url(url).database)), LEASE_SECONDS)
    else:
        database = postgresql_of_others(url, LEASE_SECONDS)

    report = run(PLAN, database, tmp_path)

    assert report.broken == []
    assert set(report.num_of_kind) == set(Kind)
    assert sum(report.num_suffered.values()) >= 3
