"""`padserve models`."""

from typing import TYPE_CHECKING

import typer

from padserve.cli.context import context_of
from padserve.cli.display import say, show_json, show_table
from padserve.cli.options import AsJson

if TYPE_CHECKING:
    from padserve.client.answers import Model

SHORT_DIGEST = 8


def models(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the models that jobs can name with --model, the ones that are served first."""
    given = context_of(context)
    with given.client() as client:
        known = client.models()
    if as_json:
        show_json(given.answers, known)
        return
    if known:
        show_table(given.answers, ("model", "digest", "state", "length", "method"), [_row(model) for model in known])
    else:
        say(given.notes, "No worker has registered a model yet.")
    for model in known:
        if model.aliases:
            say(given.notes, f"{model.id} is also called {', '.join(model.aliases)}.")


def _row(model: "Model") -> tuple[str, ...]:
    return model.id, model.digest[:SHORT_DIGEST], model.state, str(model.max_length), model.default_method
