"""What an address may not say: query parameters that a route does not know, and bytes that are no text.

`?tags=` for `?tag=` would otherwise mean everybody; and all names in another encoding would be one name.
"""

import difflib
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from api.http.errors import InvalidRequestError, LineError


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


async def refuse_broken_text(request: Request) -> None:
    """A dependency: raises InvalidRequestError where what is escaped in path or query is not UTF-8."""
    try:
        for part in ("raw_path", "query_string"):
            unquote_to_bytes(request.scope.get(part) or b"").decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("The address is not valid: what is escaped in it with % must be UTF-8.") from None


def _names(route: APIRoute) -> list[str]:
    return [field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query)]


def _message(known: list[str], name: str) -> str:
    close = difflib.get_close_matches(name[:64], known, n=1)
    if close:
        return f"Query parameter: this is not known here; is `{close[0]}` meant?"
    listed = ", ".join(f"`{each}`" for each in known) or "none"
    return f"Query parameter: this is not known here; known are: {listed}."
