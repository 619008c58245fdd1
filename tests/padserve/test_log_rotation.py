"""The logs that `padserve up` keeps are bounded, and nothing that is kept can be read by others."""

import stat
import sys
import time
from pathlib import Path

from padserve.stack.processes import Child, aside, rotate

WRITES = """
import pathlib, sys, time
for number in range(399):
    print("line", number, flush=True)
    time.sleep(0.001)
pathlib.Path(sys.argv[1]).touch()
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.01)
print("line 399", flush=True)
"""


def test_a_log_that_has_grown_is_put_aside_in_numbered_files_of_which_a_few_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "api.log"

    for number in range(5):
        log.write_text(f"{number}" * 11)
        rotate(log, most_bytes=10, kept=3)

    assert log.read_text() == ""
    assert [aside(log, number).read_text()[0] for number in (1, 2, 3)] == ["4", "3", "2"]
    assert not aside(log, 4).exists()
    assert stat.S_IMODE(aside(log, 1).stat().st_mode) == 0o600


def test_a_short_log_stays_and_one_that_cannot_be_put_aside_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("0123456789")

    rotate(log, most_bytes=10, kept=3)
    aside(log, 1).mkdir()
    rotate(log, most_bytes=5, kept=1)

    assert log.read_text() == "0123456789"


def test_a_process_goes_on_writing_to_a_log_that_is_put_aside_and_its_last_lines_are_found(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("of an earlier life\n" * 100)
    written, end = tmp_path / "written", tmp_path / "end"
    child = Child("API", (sys.executable, "-c", WRITES, str(written), str(end)), {}, log)

    while not written.exists():
        assert child.exit_code is None
        child.rotate_log(most_bytes=1000, kept=100)
        time.sleep(0.05)
    end.touch()  # not before the last time that the log is put aside: its last line stays in it
    while child.exit_code is None:
        time.sleep(0.01)

    kept = "".join(file.read_text() for file in [*sorted(tmp_path.glob("api.log.*"), key=_number, reverse=True), log])
    lines = [line for line in kept.splitlines() if line.startswith("line")]
    assert child.last_lines()[-1] == "line 399"
    assert lines == sorted(set(lines), key=lambda line: int(line.split()[1]))
    assert len(lines) > 350
    assert log.stat().st_size < 5000


def test_the_last_lines_of_a_process_are_found_right_behind_a_rotation_and_none_of_an_earlier_one(
    tmp_path: Path,
) -> None:
    log = tmp_path / "api.log"
    log.write_text("of an earlier life\n")
    child = Child("API", (sys.executable, "-c", "print('why it ended')"), {}, log)
    while child.exit_code is None:
        time.sleep(0.01)

    child.rotate_log(most_bytes=10, kept=1)

    assert log.read_text() == ""
    assert child.last_lines() == ["why it ended"]


def _number(file: Path) -> int:
    return int(file.suffix[1:])
