"""docs/reference/settings.md: every `PADSERVE_*`, read out of the settings of API, worker and local stack."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from api.settings import Settings as ApiSettings
from docs.extension.markdown import WRITTEN, code, table
from padserve.settings import KNOWN_NAMES, PREFIX
from worker.settings import WorkerSettings

ELSEWHERE = {
    "HOME": ("padserve", ".padserve", "Folder of the local stack: database, API key, logs."),
    "URL": ("client", "", "Where the client and the command line find the API; unset, the stack of this folder."),
    "API_KEY": ("client, padserve", "generated", "Key of the client; of a new stack, its first key."),
    "LOG_FORMAT": ("api, worker", "", "`json` or `console`; unset, `console` if standard error is a terminal."),
    "LOG_LEVEL": ("api, worker", "info", "`debug`, `info`, `warning` or `error`."),
    "FAULT": (
        "api, worker",
        "",
        "Where a process dies, in tests: see [fault points](../explanation/reliability.md#fault-points).",
    ),
}
"""Settings that no class of settings holds: who reads them, their default, what they say."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as the page has it."""

    readers: tuple[str, ...]
    default: str
    meaning: str
    bounds: str = ""


def render() -> str:
    """The page."""
    rows = rows_by_name()
    lines = [
        WRITTEN,
        "",
        "# Settings",
        "",
        "Environment variables, read once when a process starts. An empty one counts as unset; a name that nobody",
        "knows ends the start with a suggestion. `padserve up` starts API and workers and hands theirs on.",
        "",
        *table(
            ("variable", "default", "read by", "meaning"),
            [
                (code(PREFIX + name), code(row.default), ", ".join(row.readers), _sentence(row))
                for name, row in rows.items()
            ],
        ),
        "Where the default is `auto`, or none, the worker goes by what the machine has, and logs what it chose.",
    ]
    return "\n".join(lines) + "\n"


def rows_by_name() -> dict[str, Row]:
    """Every known setting, by name without the prefix, in alphabetical order."""
    rows: dict[str, Row] = {}
    for reader, settings in (("api", ApiSettings), ("worker", WorkerSettings)):
        for name, row in _fields(reader, settings):
            before = rows.get(name)
            rows[name] = (
                row
                if before is None
                else replace(row, readers=(*before.readers, reader), meaning=before.meaning or row.meaning)
            )
    for name, (readers, default, meaning) in ELSEWHERE.items():
        rows.setdefault(name, Row((readers,), default, meaning))
    for name in KNOWN_NAMES:
        rows.setdefault(name.removeprefix(PREFIX), Row(("padserve",), "", ""))
    return dict(sorted(rows.items()))


def _fields(reader: str, settings: type[BaseSettings]) -> Iterator[tuple[str, Row]]:
    meanings = _docstrings(settings)
    for name, field in settings.model_fields.items():
        yield name.upper(), Row((reader,), _default(field), meanings.get(name, ""), _bounds(field))


def _docstrings(settings: type[BaseSettings]) -> Mapping[str, str]:
    """The string below each field."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - what the source of a class is
    found: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            found[field.target.id] = str(ast.literal_eval(after.value))
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.default
    if value is None or value == "":
        return ""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _bounds(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    said = [
        f"{words[name]} {getattr(limit, name):g}" for limit in field.metadata for name in words if hasattr(limit, name)
    ]
    return ", ".join(said)


def _sentence(row: Row) -> str:
    bounds = f"{row.bounds[0].upper()}{row.bounds[1:]}." if row.bounds else ""
    return " ".join(filter(None, (row.meaning, bounds)))
