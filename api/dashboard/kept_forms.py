"""A form that was sent when its session had ended: kept on the page to sign in, and offered again behind it.

It travels with the pages, as hidden fields; the server stores nothing of it, and does nothing before it is sent again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from api.dashboard.security import CSRF_FIELD
from api.http.errors import UnauthorizedError

MAX_CHARACTERS = 100_000
"""Of all values together; a larger form is not kept, as it would not fit into the form of the page to sign in."""

_TOLD: TypeAdapter[tuple[list[tuple[str, str]], bool]] = TypeAdapter(tuple[list[tuple[str, str]], bool])


@dataclass(frozen=True, slots=True)
class KeptForm:
    """A form that was sent: its path, and its fields without the token of its session."""

    path: str
    fields: Sequence[tuple[str, str]]
    had_file: bool
    """A file was chosen, which is not kept: it has to be chosen again."""

    @property
    def as_json(self) -> str:
        """The fields, and whether a file is missing, in one text."""
        return json.dumps([self.fields, self.had_file], ensure_ascii=False)


class SessionEndedError(UnauthorizedError):
    """Your session has ended: sign in again."""

    def __init__(self, kept: KeptForm | None) -> None:
        super().__init__()
        self.kept = kept


def is_too_large_to_keep(request: Request) -> bool:
    """Whether the request's form may hold more than can be kept."""
    length = request.headers.get("content-length", "")
    return length.isdecimal() and int(length) > MAX_CHARACTERS


def kept_of(path: str, fields: FormData) -> KeptForm | None:
    """The form that was sent to `path`; None where it is too large."""
    texts = [(name, value) for name, value in fields.multi_items() if isinstance(value, str) and name != CSRF_FIELD]
    had_file = any(isinstance(value, UploadFile) and value.size for _, value in fields.multi_items())
    is_small = sum(len(value) for _, value in texts) <= MAX_CHARACTERS
    return KeptForm(path, texts, had_file) if texts and is_small else None


def kept_in(fields: FormData) -> KeptForm | None:
    """What the page to sign in carries along; None where it carries nothing that can be read."""
    path, told = fields.get("kept_path"), fields.get("kept")
    if not isinstance(path, str) or not isinstance(told, str) or not path:
        return None
    try:
        return KeptForm(path, *_TOLD.validate_json(told))
    except ValidationError:
        return None
