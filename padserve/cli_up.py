"""`padserve up`."""

import os

import typer

from padserve import up as local_stack
from padserve.context import context_of


def up(context: typer.Context) -> None:
    """Start a server here: API, worker, and what they need.

    Redis and a database are started too, under PADSERVE_HOME, unless PADSERVE_REDIS_URL or PADSERVE_DATABASE_URL name
    others. PADSERVE_MODEL names the model, PADSERVE_POLICY its personalised reward model, PADSERVE_PORT the port.
    Ctrl-C ends everything that was started.
    """
    given = context_of(context)
    local_stack.run(given.settings, os.environ, given.answers)
