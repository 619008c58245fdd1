"""What keeps a page to its own site: response headers, and where a form may come from. Knows no session and no page."""

import hmac
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import Response

from api.http.errors import ForbiddenError

CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # No other site learns an address, as with `no-referrer`; but with that browsers send forms from `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class ForeignFormError(ForbiddenError):
    """This form did not come from this page, or is from before you signed in: go back, reload the page, try again."""

    code = "foreign_form"
    title = "Not from this page"


def protect(response: Response) -> Response:
    """The response with the headers that every page has."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def refuse_foreign_origin(request: Request) -> None:
    """Raise `ForeignFormError` where the browser says that another site has sent this form."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForeignFormError
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForeignFormError


def refuse_wrong_token(given: object, expected: str) -> None:
    """Raise `ForeignFormError` unless the form brings its session's token."""
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), expected.encode()):
        raise ForeignFormError
