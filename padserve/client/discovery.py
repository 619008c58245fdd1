"""Which server and key are meant where none is given: by the environment, else those of the stack that runs here."""

from collections.abc import Mapping
from pathlib import Path

from padserve.client.transport import checked_url, is_on_this_machine
from padserve.errors import SettingsError
from padserve.settings import DEFAULT_HOME
from padserve.stack.home import Home

NO_SERVER = "No server is running here: start one with `padserve up`, or set PADSERVE_URL and PADSERVE_API_KEY."
NO_KEY = "No API key: set PADSERVE_API_KEY. No key of a local server was found in {home}."
FOREIGN_SERVER = "No API key: set PADSERVE_API_KEY. The key in {home} is for the server of that folder, not for {url}."


def find_server(environ: Mapping[str, str], url: str | None = None, api_key: str | None = None) -> tuple[str, str]:
    """The URL and the API key: as given, else as the environment says, else those of the data folder's stack.

    The key of a local stack is never sent to another machine. Raises `SettingsError`.
    """
    home, found = _home(environ), server_url(environ, url)
    if key := api_key or environ.get("PADSERVE_API_KEY"):
        return found, key
    if home.api_key is None:
        raise SettingsError(NO_KEY.format(home=home.path))
    if found != home.url and not is_on_this_machine(found):
        raise SettingsError(FOREIGN_SERVER.format(home=home.path, url=found))
    return found, home.api_key


def server_url(environ: Mapping[str, str], url: str | None = None) -> str:
    """The URL alone, as `find_server` finds it. Raises `SettingsError`."""
    found = url or environ.get("PADSERVE_URL") or _home(environ).url
    if not found:
        raise SettingsError(NO_SERVER)
    return checked_url(found)


def _home(environ: Mapping[str, str]) -> Home:
    return Home(Path(environ.get("PADSERVE_HOME") or DEFAULT_HOME).absolute())
