"""`python -m bench.system.uncounted api|worker`: the bench's program of that name, in which nothing is counted.

No setting does that: what it would save is what the scene `metrics` measures.
"""

import sys
from unittest.mock import patch

from api import metrics as api_metrics
from worker import metrics as worker_metrics

COUNTING = ((api_metrics, "count_request"), (worker_metrics, "count_claim"), (worker_metrics, "count_save"))


def main() -> int:
    """Run the program that is named; returns its exit code."""
    for module, name in COUNTING:
        patch.object(module, name, _nothing).start()
    if sys.argv[1] == "api":
        from api.__main__ import main as program  # noqa: PLC0415 - one of two programs, each slow to import
    else:
        from bench.system.worker import main as program  # noqa: PLC0415 - as above
    return program()


def _nothing(*_: object, **__: object) -> None:
    """Instead of what counts."""


if __name__ == "__main__":
    sys.exit(main())
