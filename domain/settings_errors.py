"""What is wrong with a `PADSERVE_*` setting, in one sentence that names it. Knows pydantic's errors and no settings."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

PREFIX = "PADSERVE_"
LONGEST_SHOWN = 40
MAY_HOLD_A_SECRET = ("url", "token", "key")
_MUST = {
    "missing": "must be set",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
}


def sentence_of(error: ValidationError) -> str:
    """The first error of settings that could not be built: the variable's name, what it must be, and what it is.

    A value is shown where it is short and cannot hold a secret.
    """
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    return f"{PREFIX}{name.upper()} {_must(first)}{_shown(name, first)}."


def _must(details: ErrorDetails) -> str:
    known = _MUST.get(details["type"])
    bounds = {
        name: f"{value:g}" if isinstance(value, float) else value for name, value in details.get("ctx", {}).items()
    }
    return known.format(**bounds) if known else f"cannot be used: {details['msg'].rstrip('.')}"


def _shown(name: str, details: ErrorDetails) -> str:
    value = details["input"]
    is_secret = any(part in MAY_HOLD_A_SECRET for part in name.split("_"))
    if details["type"] == "missing" or is_secret or not isinstance(value, str) or len(value) > LONGEST_SHOWN:
        return ""
    return f"; it is {value!r}"
