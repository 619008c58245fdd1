"""What stands in a form's fields: texts as they were typed, and numbers as people write them. Pure."""

import math

from starlette.datastructures import FormData

from api.http.errors import LineError

MAX_SHOWN = 40


def text_of(fields: FormData, name: str) -> str:
    """The text of a field, without space around it; empty where there is none, or an upload in its place."""
    value = fields.get(name)
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""


def number_in(text: str, pointer: str, errors: list[LineError]) -> float | None:
    """The number in a text, with a point or a comma; None where it is empty. What is no number is added to `errors`."""
    if not text:
        return None
    value = finite(text)
    if value is None:
        shown = text[:MAX_SHOWN]
        errors.append(LineError("not_a_number", f"\u201c{shown}\u201d is not a number.", pointer))
    return value


def whole_number_in(text: str, pointer: str, errors: list[LineError]) -> int | None:
    """As `number_in`, of a number that has to be whole."""
    value = number_in(text, pointer, errors)
    if value is None:
        return None
    if value != int(value):
        errors.append(LineError("not_a_whole_number", f"\u201c{text[:MAX_SHOWN]}\u201d is not whole.", pointer))
        return None
    return int(value)


def finite(text: str) -> float | None:
    """The finite number that a text says; None where it says none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
