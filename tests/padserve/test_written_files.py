"""Where lines go that a command writes: into files, through links, into what is no file."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from padserve.client.files import write_lines
from padserve.errors import SourceError


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()

    num_lines = write_lines(["a", "b"], pipe)
    reader.join()

    assert (num_lines, read) == (2, ["a\nb\n"])
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_is_followed_and_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, dangling = tmp_path / "there" / "file", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "there" / "new")

    write_lines(["a"], link)
    write_lines(["b"], dangling)

    assert (link.is_symlink(), dangling.is_symlink()) == (True, True)
    assert (target.read_text(), (tmp_path / "there" / "new").read_text()) == ("a\n", "b\n")


def test_a_file_that_is_replaced_keeps_who_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(0o600)

    write_lines(["a"], file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_lines_that_end_early_leave_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def lines() -> Iterator[str]:
        yield "a"
        raise SourceError("It broke.")

    with pytest.raises(SourceError):
        write_lines(lines(), file)

    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]


def test_two_writers_of_one_file_each_write_a_whole_one(tmp_path: Path) -> None:
    file = tmp_path / "file"

    def lines() -> Iterator[str]:
        yield "mine"
        write_lines(["another's", "two lines"], file)
        assert file.read_text() == "another's\ntwo lines\n"
        yield "mine again"

    write_lines(lines(), file)

    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "mine\nmine again\n")]


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    file = tmp_path / ("ü" * 127)

    assert write_lines(["a"], file) == 1


def test_a_full_disk_is_told() -> None:
    with pytest.raises(SourceError, match="No space left on device"):
        write_lines(["a"], Path("/dev/full"))


def test_a_full_disk_behind_standard_output_is_told() -> None:
    program = "from padserve.client.files import write_lines\nwrite_lines(['a'], None)"
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert "SourceError: Cannot write to standard output: No space left on device." in ended.stderr
