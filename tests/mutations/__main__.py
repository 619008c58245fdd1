"""`python -m tests.mutations`: takes one mechanism away at a time, in a copy of the tree, and shows which tests notice.

Not part of `make test`: it runs tests that are meant to fail. A mechanism whose loss nobody notices ends it with 1, and
so does a change that no longer fits the source.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutations.mechanisms import MECHANISMS, Mechanism

ROOT = Path(__file__).parents[2]
FOLDERS = ("api", "db", "padserve", "tests", "worker")
FILES = ("pyproject.toml",)


@dataclass(frozen=True, slots=True)
class Noticed:
    """What the tests said of a tree without one mechanism."""

    mechanism: Mechanism
    failures: dict[str, int]
    """How many tests failed, by their file."""


def main() -> int:
    """Command line: the names of the mechanisms to take away, or none for all."""
    wanted = sys.argv[1:] or [mechanism.name for mechanism in MECHANISMS]
    is_missed = False
    for mechanism in MECHANISMS:
        if mechanism.name in wanted:
            noticed = without(mechanism)
            is_missed = is_missed or not noticed.failures
            by_file = ", ".join(f"{file} ({count})" for file, count in sorted(noticed.failures.items()))
            say(f"| {mechanism.name} | {mechanism.file} | {by_file or 'NOBODY NOTICES'} |")
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
        return Noticed(mechanism, _failures(copy, mechanism.tests))


def _failures(tree: Path, tests: Sequence[str]) -> dict[str, int]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
        "--maxfail=3",
        *tests,
    ]
    run = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )
    failures: dict[str, int] = {}
    for file in re.findall(r"^(?:FAILED|ERROR) (\S+?)::", run.stdout, re.MULTILINE):
        failures[file] = failures.get(file, 0) + 1
    if run.returncode not in {0, 1} or (run.returncode == 1 and not failures):
        raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
    return failures


def say(line: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
