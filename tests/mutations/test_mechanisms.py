"""The mutation check fits the source: what it takes away is there, and what is left is still Python."""

from pathlib import Path

import pytest

from tests.mutations.__main__ import ALL
from tests.mutations.mechanisms import Mechanism

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mechanism", ALL, ids=lambda mechanism: mechanism.name)
def test_each_mechanism_can_be_taken_away(mechanism: Mechanism) -> None:
    source = (ROOT / mechanism.file).read_text()

    without = mechanism.take_from(source)

    assert without != source
    compile(without, mechanism.file, "exec")


@pytest.mark.parametrize("mechanism", ALL, ids=lambda mechanism: mechanism.name)
def test_the_tests_that_should_notice_exist(mechanism: Mechanism) -> None:
    files = [test.partition("::")[0] for test in mechanism.tests]

    assert [file for file in files if not (ROOT / file).exists()] == []


def test_a_change_that_no_longer_fits_is_refused() -> None:
    mechanism = Mechanism("the lease", "db/queries/losses.py", (("what is not there", ""),), ())

    with pytest.raises(ValueError, match=r"write the change anew"):
        mechanism.take_from("source")
