"""The `padserve` command: which commands there are, and how their errors end. What each does is in its own module."""

import os
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from padserve.cli import doctor, job_flow, jobs, keys, models, preview, profiles, programs, trying, up, webhooks
from padserve.cli.context import create_context
from padserve.cli.display import show_error
from padserve.cli.signals import end_as_by_ctrl_c
from padserve.errors import PadserveError

FAILED = 1
COMPLETING = "_PADSERVE_COMPLETE"
NOT_UNICODE = "What was typed is not UTF-8 text."


class App(typer.Typer):
    """An application whose own errors end in readable lines and exit code 1."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run one command line."""
        if COMPLETING in os.environ:
            return self._offer(*args, **kwargs)
        try:
            with end_as_by_ctrl_c():
                return super().__call__(*args, **kwargs)
        except UnicodeEncodeError:
            _fail(PadserveError(NOT_UNICODE))
        except PadserveError as error:
            _fail(error)
        except OSError as error:  # a disk that is full, a file that goes while it is read
            _fail(PadserveError(f"Cannot go on: {error.strerror or error}{_of(error)}."))

    def _offer(self, *args: object, **kwargs: object) -> object:
        """What a shell may complete; what goes wrong is nothing that belongs on somebody's command line."""
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            try:
                return super().__call__(*args, **kwargs)
            except Exception:  # noqa: BLE001 - as above
                sys.exit(FAILED)


def _of(error: OSError) -> str:
    return "" if error.filename is None else f" ({error.filename})"


def _fail(error: PadserveError) -> NoReturn:
    from rich.console import Console

    show_error(Console(stderr=True), error)
    sys.exit(FAILED)


app = App(
    help="Write the same content for many people, each in the way that person prefers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("up")(up.up)
for name, program in (
    ("train", programs.train),
    ("eval", programs.evaluate),
    ("calibrate", programs.calibrate),
):
    app.command(name, context_settings=programs.EVERYTHING_IS_HANDED_ON)(program)
for command in (
    *(jobs.submit, jobs.campaign, preview.preview, jobs.status, jobs.results, jobs.cancel),
    *(jobs.readdress, models.models, doctor.doctor),
):
    app.command()(command)
app.command("try")(trying.try_)
app.add_typer(job_flow.app, name="jobs")
app.add_typer(profiles.app, name="profiles")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"padserve {version('padserve')}\n")
        raise typer.Exit


@app.callback()
def prepare(
    context: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Write the same content for many people, each in the way that person prefers.

    Start a server here with `padserve up`, or name one with PADSERVE_URL and PADSERVE_API_KEY.
    """
    context.obj = create_context()
