"""The data folder of a local stack: where each thing lies, who holds it, and the two small files its clients read."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from padserve.errors import StackError

OWNER_ONLY = 0o600
OWNER_ONLY_FOLDER = 0o700


class Home:
    """One data folder. Nothing is created before it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.redis = path / "redis"
        self.database = path / "padserve.db"
        self.api_key_file = path / "api_key"
        self.url_file = path / "url"
        self._lock_file = path / "lock"

    @property
    def database_url(self) -> str:
        """The SQLite database in this folder."""
        from sqlalchemy import URL  # noqa: PLC0415 - clients read this folder, too, and have no use for it

        return URL.create("sqlite", database=str(self.database)).render_as_string()  # a path is no URL

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one stack. The kernel lets go when the process ends, however it ends."""
        try:
            self.path.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
            for folder in (self.logs, self.redis):
                folder.mkdir(exist_ok=True)
                folder.chmod(OWNER_ONLY_FOLDER)
            lock = self._lock_file.open("a+")
        except OSError as error:
            raise StackError(f"Cannot use {self.path} as a data folder (PADSERVE_HOME): {error.strerror}.") from error
        with lock:
            self._lock(lock.fileno())
            self._make_private()
            yield

    def _make_private(self) -> None:
        """Whoever may look into the folder: texts and logs are its owner's. SQLite's own files follow the database."""
        for file in (*self.path.glob(f"{self.database.name}*"), *self.logs.iterdir()):
            create_private(file)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            where = f" at {self.url}" if self.url else ""
            raise StackError(f"padserve is already running{where} in {self.path}.") from error

    @property
    def url(self) -> str | None:
        """Where the running stack of this folder answers; None where none has said."""
        return _read(self.url_file)

    @property
    def api_key(self) -> str | None:
        """The key that was generated for this folder; None before its first start."""
        return _read(self.api_key_file)

    def keep_api_key(self, key: str) -> None:
        """Keep the generated key, readable by its owner only."""
        write_private(self.api_key_file, key + "\n")


def create_private(path: Path) -> None:
    """Create a file, if it is not there, that only its owner may read; one that is there becomes so."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
        path.chmod(OWNER_ONLY)
    except OSError as error:
        raise StackError(f"Cannot write {path}: {error.strerror}.") from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at no moment readable by others."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w") as file:
        file.write(text)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StackError(f"Cannot read {path}: {error.strerror}.") from error
