"""What each process carries: the engine's knows no database, the values that all share know nothing."""

import subprocess
import sys


def test_the_engines_process_does_not_import_sqlalchemy() -> None:
    assert _imported("worker.supervision.engine_process", "worker.texts.decoder") & {"sqlalchemy", "celery"} == set()


def test_the_values_that_all_share_import_no_package_of_this_project() -> None:
    modules = ("attempts", "holdouts", "model_descriptions", "pairs", "preferences", "priorities", "sampling", "states")

    imported = _imported(*(f"domain.{name}" for name in modules))

    assert imported & {"api", "db", "padserve", "sqlalchemy", "torch", "worker"} == set()


def _imported(*modules: str) -> set[str]:
    """Top-level packages that a fresh process holds when it has imported `modules`."""
    program = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )
