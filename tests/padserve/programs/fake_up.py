"""`padserve up` with stand-ins for API and worker; Redis and the database are real. Arguments: the worker's command."""

import os
import sys
from pathlib import Path

from rich.console import Console

from padserve.errors import StackError
from padserve.settings import read_settings
from padserve.stack import up
from padserve.stack.served import read_served
from padserve.stack.stack import Programs


def main() -> int:
    api = (sys.executable, str(Path(__file__).with_name("fake_api.py")))
    try:
        models = read_served(os.environ.get("PADSERVE_TEST_MODELS", "").split(), os.environ)
        programs = Programs(api=api, worker=tuple(sys.argv[1:]))
        up.run(read_settings(os.environ), os.environ, Console(width=1000), programs, models)
    except StackError as error:
        sys.stdout.write("\n".join([str(error), *error.log_lines]) + "\n")
        return 1
    return 0
