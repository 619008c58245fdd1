"""The bench of the whole system, at its smallest: every scene says what it promises to, of work that was done."""

from contextlib import ExitStack

import pytest

from bench.system import __main__ as program
from bench.system import serving, site, throughput
from bench.system.databases import Databases
from bench.system.table import Measured, percentile, rendered
from tests.system.processes import a_forking_stack

PROCESSES = ("the API", "what the API does aside", "the workers", "the engines")
SMALLEST = "--slots=4 --workers=1 --items=40 --large=60 --filled=30 --runs=2"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user of the bench cannot make smaller or quicker, because the numbers would mean less."""
    monkeypatch.setattr(site, "a_stack", a_forking_stack)
    monkeypatch.setattr(throughput, "WARM_UP_ITEMS", 20)
    monkeypatch.setattr(serving, "NUM_LOOKS", 10)


def run(*arguments: str) -> list[Measured]:
    given = program._parser().parse_args([*SMALLEST.split(), *arguments])  # noqa: SLF001 - as the command line reads it
    with ExitStack() as stack:
        return list(program.measured(Databases(stack), given))


def test_every_scene_of_one_worker_measures_what_it_names() -> None:
    rows = run("--databases=sqlite", "--scenes=throughput,peer,acceptance,reading,metrics")

    assert [(row.scene, row.measure, row.unit, len(row.values)) for row in rows] == [
        ("throughput", "from submission to last result", "items/s", 2),
        ("throughput", "from acceptance to last result", "items/s", 2),
        *(("throughput", f"processor time of {who}, per item", "us", 1) for who in PROCESSES),
        ("throughput", "from submission to last result", "items/s", 2),
        ("metrics", "processor time per item, nothing counted", "us", 2),
        ("metrics", "processor time per item, counted and shown every second", "us", 2),
        ("metrics", "more, by the medians", "%", 1),
        ("metrics", "what counts, alone, per item, 4 in a claim and a save", "us", 2),
        ("acceptance", "seconds", "s", 2),
        ("acceptance", "growth of the API's memory", "MiB", 2),
        *(("acceptance", f"status meanwhile, {name}", "ms", 1) for name in ("p50", "p99")),
        *(("acceptance", f"small submission meanwhile, {name}", "ms", 1) for name in ("p50", "p99")),
        *(("reading", f"status, {name}", "ms", 1) for name in ("p50", "p99")),
        *(("reading", f"status, {name}", "ms", 1) for name in ("p50", "p99")),
        ("reading", "export", "rows/s", 2),
    ]
    assert all(value > 0 for row in rows for value in row.values if row.unit in {"items/s", "rows/s"})


def test_the_queue_alone_is_measured_by_the_size_of_the_table_and_under_an_old_snapshot() -> None:
    rows = run("--databases=postgresql", "--scenes=queue,snapshot", "--large=2000")

    assert [row.measure for row in rows] == 4 * ["claim, per item", "save, per item"] + 2 * ["claim, per item"]
    assert {row.case.split(", ")[1] for row in rows[:8]} == {"0 finished rows", "30 finished rows"}


def test_the_table_shows_medians_with_their_range() -> None:
    row = Measured("throughput", "a case", "a rate", (1000.0, 3000.0, 2000.0), "items/s")

    assert rendered([row]).endswith("| throughput | a case | a rate | 2,000 items/s | 3: 1,000 to 3,000 |")
    assert percentile([3.0, 1.0, 2.0], 0.99) == pytest.approx(3.0)
