"""`python -m tests.mutations`: takes one mechanism away at a time, in a copy of the tree, and shows which test notices.

Not part of `make test`: it runs tests that are meant to fail. A mechanism whose loss nobody notices ends it with 1, and
so does a change that no longer fits the source.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutations.mechanisms import MECHANISMS, Mechanism
from tests.mutations.texts import TEXTS
from tests.servers import postgresql_server

ALL = (*MECHANISMS, *TEXTS)
ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "bench", "db", "domain", "padserve", "telemetry", "tests", "worker")
FILES = ("pyproject.toml",)


@dataclass(frozen=True, slots=True)
class Noticed:
    """What the tests said of a tree without one mechanism."""

    mechanism: Mechanism
    by: str | None
    """The first test that failed; None: nobody noticed."""
    seconds: float


def main() -> int:
    """Command line: the names of the mechanisms to take away, or none for all."""
    wanted = sys.argv[1:] or [mechanism.name for mechanism in ALL]
    if unknown := set(wanted) - {mechanism.name for mechanism in ALL}:
        say(f"There is no mechanism of the name {min(unknown)!r}.")
        return 2
    is_missed = False
    with postgresql_server() as server:
        os.environ["PADSERVE_TEST_DATABASE_URL"] = server.render_as_string(hide_password=False)
        for mechanism in ALL:
            if mechanism.name in wanted:
                noticed = without(mechanism)
                is_missed = is_missed or noticed.by is None
                by = "NOBODY NOTICES" if noticed.by is None else f"`{noticed.by}`"
                say(f"| {mechanism.name} | `{mechanism.file}` | {by} | {noticed.seconds:.0f} s |")
    return 1 if is_missed else 0


def without(mechanism: Mechanism) -> Noticed:
    """Run the tests that should notice on a copy of the tree that lacks the mechanism."""
    with tempfile.TemporaryDirectory(prefix="padserve-mutation-") as temporary:
        copy = Path(temporary)
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in FILES:
            shutil.copy(ROOT / file, copy / file)
        source = copy / mechanism.file
        source.write_text(mechanism.take_from(source.read_text()))
        began = time.monotonic()
        return Noticed(mechanism, _first_failure(copy, mechanism.tests), time.monotonic() - began)


def _first_failure(tree: Path, tests: Sequence[str]) -> str | None:
    options = ["-q", "--tb=no", "-p", "no:cacheprovider", "--timeout=60", "--exitfirst"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    if run.returncode not in {0, 1} or (run.returncode == 1 and found is None):
        raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
    return found and found[1]


def say(line: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
