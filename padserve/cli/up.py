"""`padserve up`."""

import os
from typing import Annotated

import typer

from padserve.cli.context import context_of
from padserve.cli.options import AsJson

ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]PATH[+POLICY[+REFERENCE]]",
        help="A model to serve, instead of PADSERVE_MODEL; repeat it to serve several, each by a worker of its own.",
    ),
]


def up(context: typer.Context, *, model: ModelOptions = None, as_json: AsJson = False) -> None:
    """Start a server here: API, worker, and what they need.

    Redis and a database are started too, under PADSERVE_HOME, unless PADSERVE_REDIS_URL or PADSERVE_DATABASE_URL name
    others. PADSERVE_MODEL names the model, PADSERVE_POLICY its personalised reward model, PADSERVE_PORT the port.
    Ctrl-C ends everything that was started. Where no worker can start, the server ends with the reason; of several
    models, those that can be served are.
    """
    from padserve.stack import up as local_stack
    from padserve.stack.served import read_served

    given = context_of(context)
    local_stack.run(
        given.settings,
        os.environ,
        given.answers,
        models=read_served(model or (), os.environ),
        notes=given.notes if as_json else None,
    )
