"""What the form for a new job holds, as the body and options that the API reads. Knows no page and stores nothing."""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from tempfile import SpooledTemporaryFile
from typing import IO

from pydantic_core import to_json
from starlette.datastructures import FormData, UploadFile

from api.csv.tables import CSV
from api.http.bodies import CHUNK_BYTES, JSON, NDJSON, SPOOL_IN_MEMORY_BYTES, JsonSyntaxError, SpooledBody, parse_json
from api.http.errors import InvalidRequestError, LineError
from api.submissions.accepting import Form
from api.submissions.item_rows import OPTION_NAMES

MAX_LINE_SHOWN = 240
PEEK_BYTES = 2**16
NUMBERS = {"max_tokens": int, "strength": float}
"""Settings of the form that go into a job's `defaults`, and what they are."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A job as the form says it. The caller closes `body.file`."""

    body: SpooledBody
    form: Form
    num_lines_added: int = 0
    """In front of what was pasted or uploaded."""

    @property
    def digest(self) -> str:
        """Equal for equal jobs."""
        return hashlib.sha256(self.body.digest.encode() + to_json([self.form.columns, self.form.options])).hexdigest()

    def lines(self, numbers: set[int]) -> dict[int, str]:
        """These lines of what was sent, as far as they are shown, by their number in it."""
        self.body.file.seek(0)
        most = max(numbers, default=0) + self.num_lines_added
        found = enumerate(islice(self.body.file, most), start=1 - self.num_lines_added)
        return {number: _shown(line) for number, line in found if number in numbers}


def read_rows(fields: FormData, form: Form) -> Sent:
    """Rows that were pasted or uploaded: NDJSON, CSV or one JSON object, whichever they look like."""
    source, name = _source(fields)
    options = options_of(fields)
    media_type = _media_type(source, name)
    if media_type == CSV:
        return Sent(
            _spooled(source, CSV), Form(form.may_name_users, options=options or None, is_dry_run=form.is_dry_run)
        )
    if media_type == JSON:
        return Sent(_with_options(source, options), form)
    first = source.readline(PEEK_BYTES)
    own = _options_line(first) if options else None
    if not options:
        source.seek(0)
        return Sent(_spooled(source, NDJSON), form)
    if own is None:
        source.seek(0)
        return Sent(_spooled(source, NDJSON, before=to_json(options) + b"\n"), form, num_lines_added=1)
    return Sent(_spooled(source, NDJSON, before=to_json(_merged(options, own)) + b"\n"), form)


def read_campaign_form(fields: FormData, form: Form) -> Sent:
    """A campaign as its form says it."""
    kind = _text(fields, "audience")
    audience: dict[str, object] = {"all": True}
    if kind == "tags":
        audience = {"tags": _words(_text(fields, "tags"))}
    elif kind == "user_ids":
        audience = {"user_ids": _words(_text(fields, "user_ids"))}
    if excluded := _words(_text(fields, "exclude")):
        audience["exclude"] = excluded
    body = {**options_of(fields), "prompt": _text(fields, "prompt"), "audience": audience}
    if _text(fields, "missing") == "skip":
        body["missing"] = "skip"
    return Sent(_spooled(io.BytesIO(to_json(body)), JSON), form)


def options_of(fields: FormData) -> dict[str, object]:
    """What the form says once for all items; raises `InvalidRequestError` where a number is none."""
    options: dict[str, object] = {name: text for name in ("name", "priority", "model") if (text := _text(fields, name))}
    if options.get("priority") == "normal":
        del options["priority"]
    errors: list[LineError] = []
    defaults = {name: _number(fields, name, kind, errors) for name, kind in NUMBERS.items()}
    holdout = _number(fields, "holdout", float, errors)
    if errors:
        raise InvalidRequestError(errors=errors)
    if said := {name: value for name, value in defaults.items() if value is not None}:
        options["defaults"] = said
    if holdout is not None:
        options["holdout"] = holdout / 100
        if (seed := _text(fields, "holdout_seed")).isdecimal():  # of the estimate: the same users
            options["holdout_seed"] = int(seed)
    return options


def _number(fields: FormData, name: str, kind: type[int] | type[float], errors: list[LineError]) -> float | None:
    text = _text(fields, name).replace(",", ".")
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        errors.append(LineError("not_a_number", f"`{name}`: Must be a number.", f"/{name}"))
        return None


def _text(fields: FormData, name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def _words(text: str) -> list[str]:
    """What is written in lines, or between commas."""
    parts = (cell for row in csv.reader(text.splitlines(), skipinitialspace=True) for cell in row)
    return [part.strip() for part in parts if part.strip()]


def _source(fields: FormData) -> tuple[IO[bytes], str]:
    upload = fields.get("file")
    if isinstance(upload, UploadFile) and upload.size:
        return upload.file, upload.filename or ""
    text = fields.get("rows")
    pasted = text if isinstance(text, str) else ""
    if not pasted.strip():
        message = "Paste some rows, or choose a file."
        raise InvalidRequestError(message, errors=[LineError("no_items", message, "")])
    return io.BytesIO(pasted.encode(errors="surrogatepass")), ""


def _media_type(source: IO[bytes], name: str) -> str:
    start = source.read(PEEK_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    source.seek(0)
    if PurePath(name).suffix.lower() == ".csv" or not start.startswith((b"{", b"[")):
        return CSV
    first = start.partition(b"\n")[0]
    try:
        value = parse_json(first)
    except JsonSyntaxError:
        is_whole = first.strip() in {b"{", b"["} or b'"items"' in first or b'"audience"' in first
        return JSON if is_whole else NDJSON
    return JSON if isinstance(value, dict) and not value.keys().isdisjoint({"items", "audience"}) else NDJSON


def _options_line(line: bytes) -> Mapping[str, object] | None:
    """The first line, where it holds options and nothing else."""
    try:
        value = parse_json(line)
    except JsonSyntaxError:
        return None
    return value if isinstance(value, dict) and value and OPTION_NAMES.issuperset(value) else None


def _merged(options: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """What the text itself says goes before what the form says."""
    merged = {**options, **own}
    ours, theirs = options.get("defaults"), own.get("defaults")
    if isinstance(ours, dict) and isinstance(theirs, dict):
        merged["defaults"] = {**ours, **theirs}
    return merged


def _with_options(source: IO[bytes], options: Mapping[str, object]) -> SpooledBody:
    if not options:
        return _spooled(source, JSON)
    whole = _spooled(source, JSON)
    with whole.file:
        value = whole.json()
    merged = _merged(options, value) if isinstance(value, dict) else value
    return _spooled(io.BytesIO(to_json(merged)), JSON)


def _spooled(source: IO[bytes], media_type: str, *, before: bytes = b"") -> SpooledBody:
    """A body of what is left of `source`, behind `before`."""
    file = SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115 - its reader closes it
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(before, source):
        digest.update(chunk)
        size += len(chunk)
        file.write(chunk)
    file.flush()
    return SpooledBody(file, size, digest.hexdigest(), media_type)


def _chunks(before: bytes, source: IO[bytes]) -> Iterator[bytes]:
    if before:
        yield before
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace").rstrip("\r\n")
    return text if len(text) <= MAX_LINE_SHOWN else text[:MAX_LINE_SHOWN] + "…"
