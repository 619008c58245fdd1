"""What every command has at hand: the settings, and a console for answers and one for everything else."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from padserve.errors import PadserveError
from padserve.settings import Settings, read_settings

if TYPE_CHECKING:
    import typer
    from rich.console import Console

    from padserve.client.client import Client

MAX_RETRIES = 3  # a few seconds: somebody waits at the terminal


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What every command needs: settings, and consoles for answers and notes. Built once per command line."""

    settings: Settings
    answers: "Console"
    notes: "Console"

    def client(self) -> "Client":
        """A client of the server that the environment names, else of the one that runs on this data folder."""
        from padserve.client.client import Client

        return Client(max_retries=MAX_RETRIES)


def create_context() -> CommandContext:
    """Read the environment, for the whole command line; raises `SettingsError` for what is unknown or unreadable."""
    from rich.console import Console

    return CommandContext(read_settings(os.environ), Console(), Console(stderr=True))


def context_of(context: "typer.Context") -> CommandContext:
    """The `CommandContext` of the running command."""
    given = context.find_object(CommandContext)
    if given is None:
        raise PadserveError("This command was started outside of `padserve`.")
    return given
