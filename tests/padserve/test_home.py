"""The data folder: whatever its path is made of, everything is in it, and nothing is for others to read."""

import stat
import sys
import time
from pathlib import Path

import pytest

from db.session import Database
from padserve.errors import StackError
from padserve.settings import read_settings
from padserve.stack.home import Home
from padserve.stack.processes import Child
from padserve.stack.redis_server import write_configuration
from padserve.stack.stack import running_stack

ODD = ["a%3Fb", "a?b=c", "a&b", "a#b c", "a%b", 'a"b', "ü"]


@pytest.mark.parametrize("name", ODD)
def test_the_database_is_in_the_folder_whatever_its_path_is_made_of(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)

    with home.held():
        database = Database(home.database_url)
        database.check()
        database.dispose()

    assert Path(database.url.database or "") == home.database
    assert [folder.name for folder in tmp_path.iterdir()] == [name]
    assert home.database.stat().st_size > 0


def test_redis_reads_a_quote_in_its_folder_as_one(tmp_path: Path) -> None:
    folder = tmp_path / 'a"b'
    folder.mkdir()

    configuration, _ = write_configuration(folder, 1)

    assert f'dir "{tmp_path}/a\\"b"' in configuration.read_text()


def test_database_and_logs_are_private_in_a_folder_that_others_may_see(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for folder in (home.path, home.logs, home.redis):
        folder.mkdir(mode=0o755)
    for file in (home.database, home.path / "padserve.db-wal", home.logs / "api.log"):
        file.touch(mode=0o644)

    with home.held():
        child = Child(
            "writer", [sys.executable, "-c", WRITES_A_FILE], {"FOLDER": str(home.redis)}, home.logs / "new.log"
        )
        while child.exit_code is None:
            time.sleep(0.01)
        database = Database(home.database_url)
        database.check()
        modes = {file.name: mode(file) for file in home.path.rglob("*") if file.name != "lock"}
        database.dispose()

    assert {name for name, each in modes.items() if each & 0o077} == set()
    assert {"padserve.db", "api.log", "new.log", "file", "logs", "redis"} <= modes.keys()


def test_a_file_of_the_stack_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.api_key_file.mkdir()

    with pytest.raises(StackError, match=r"^Cannot read .*api_key: Is a directory\.$"):
        _ = home.api_key


WRITES_A_FILE = "import os, pathlib; pathlib.Path(os.environ['FOLDER'], 'file').touch()"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_that_takes_no_files_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "redis" / "redis.conf").mkdir(parents=True)
    settings = read_settings({"PADSERVE_HOME": str(tmp_path), "PADSERVE_PORT": "0"})

    with (
        pytest.raises(StackError, match=rf"^Cannot go on in {tmp_path}: Is a directory\.$"),
        running_stack(settings, {}, report=print),
    ):
        pass
