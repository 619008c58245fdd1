"""Query parameters that a route does not know are refused: `?tags=` for `?tag=` would otherwise mean everybody."""

import difflib

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from api.errors import InvalidRequestError, LineError


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency: raises InvalidRequestError with every name in the query that the route has no parameter for."""
    if not request.query_params:
        return
    route = request.scope["route"]
    known = _names(route) if isinstance(route, APIRoute) else []
    errors = [
        LineError("unknown_parameter", _message(known, name), name)
        for name in dict.fromkeys(request.query_params)
        if name not in known
    ]
    if errors:
        raise InvalidRequestError(errors=errors)


def _names(route: APIRoute) -> list[str]:
    return [field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query)]


def _message(known: list[str], name: str) -> str:
    close = difflib.get_close_matches(name[:64], known, n=1)
    if close:
        return f"Query parameter: this is not known here; is `{close[0]}` meant?"
    listed = ", ".join(f"`{each}`" for each in known) or "none"
    return f"Query parameter: this is not known here; known are: {listed}."
