"""What the form for a new job holds, as the body and options that the API reads. Knows no page and stores nothing."""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO

from pydantic_core import to_json
from starlette.datastructures import FormData, UploadFile

from api.csv.cells import ITEMS
from api.csv.tables import CSV, Column, parse_columns, table_columns
from api.dashboard.form_values import number_in, text_of, whole_number_in
from api.http.bodies import CHUNK_BYTES, JSON, NDJSON, SPOOL_IN_MEMORY_BYTES, JsonSyntaxError, SpooledBody, parse_json
from api.http.errors import BodyTooLargeError, InvalidRequestError, LineError
from api.submissions.accepting import Form
from api.submissions.item_rows import OPTION_NAMES

MAX_LINE_SHOWN = 240
PEEK_BYTES = 2**16
ALL_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Sent:
    """A job as the form says it. The caller closes `body.file`."""

    body: SpooledBody
    form: Form
    num_lines_added: int = 0
    """In front of what was pasted or uploaded."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of a table, each with the field it holds; none where the header cannot be read."""
        if self.body.media_type != CSV or self.body.file.closed:
            return ()
        try:
            return table_columns(self.body, self.form.columns, ITEMS)
        except (InvalidRequestError, BodyTooLargeError):
            return ()

    @property
    def digest(self) -> str:
        """A digest of body, columns and options: equal for equal jobs."""
        return hashlib.sha256(self.body.digest.encode() + to_json([self.form.columns, self.form.options])).hexdigest()

    def lines(self, numbers: set[int]) -> dict[int, str]:
        """These lines of what was sent, as far as they are shown, by their number in it."""
        self.body.file.seek(0)
        most = max(numbers, default=0) + self.num_lines_added
        found = enumerate(islice(self.body.file, most), start=1 - self.num_lines_added)
        return {number: _shown(line) for number, line in found if number in numbers}


def read_rows(fields: FormData, form: Form) -> Sent:
    """Rows that were pasted or uploaded: NDJSON, CSV or one JSON object, whichever they look like."""
    source = _source(fields)
    options = options_of(fields)
    media_type = _media_type(source)
    if media_type == CSV:
        return _sent_table(_spooled(source, CSV), fields, replace(form, options=options or None))
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


def _sent_table(body: SpooledBody, fields: FormData, form: Form) -> Sent:
    """A table, with what the form says of its columns; of a column that it has no more, nothing is said."""
    told = parse_columns([str(each) for each in fields.getlist("column")])
    names = {column.name for column in Sent(body, form).columns}
    return Sent(body, replace(form, columns={name: field for name, field in told.items() if name in names}))


def read_campaign_form(fields: FormData, form: Form) -> Sent:
    """A campaign from the fields of its form."""
    kind = text_of(fields, "audience")
    audience: dict[str, object] = {"all": True}
    if kind == "tags":
        audience = {"tags": _words(text_of(fields, "tags"))}
    elif kind == "user_ids":
        audience = {"user_ids": _words(text_of(fields, "user_ids"))}
    if excluded := _words(text_of(fields, "exclude")):
        audience["exclude"] = excluded
    body = {**options_of(fields), "prompt": text_of(fields, "prompt"), "audience": audience}
    if text_of(fields, "missing") == "skip":
        body["missing"] = "skip"
    return Sent(_spooled(io.BytesIO(to_json(body)), JSON), form)


def options_of(fields: FormData) -> dict[str, object]:
    """What the form says once for all items; raises `InvalidRequestError` where a number is none."""
    names = ("name", "priority", "model")
    options: dict[str, object] = {name: text for name in names if (text := text_of(fields, name))}
    if options.get("priority") == "normal":
        del options["priority"]
    errors: list[LineError] = []
    defaults = {
        "max_tokens": whole_number_in(text_of(fields, "max_tokens"), "/max_tokens", errors),
        "strength": number_in(text_of(fields, "strength"), "/strength", errors),
    }
    percent = number_in(text_of(fields, "holdout"), "/holdout", errors)
    if percent is not None and not 0 <= percent < ALL_PERCENT:
        errors.append(LineError("holdout", "0 or more is allowed, and less than 100.", "/holdout"))
    if errors:
        raise InvalidRequestError(errors=errors)
    if said := {name: value for name, value in defaults.items() if value is not None}:
        options["defaults"] = said
    if percent:
        options["holdout"] = percent / ALL_PERCENT
        if (seed := text_of(fields, "holdout_seed")).isdecimal():  # of the estimate: the same users
            options["holdout_seed"] = int(seed)
    return options


def _words(text: str) -> list[str]:
    """The words of a text that has one a line, or several between commas."""
    parts = (cell for row in csv.reader(text.splitlines(), skipinitialspace=True) for cell in row)
    return [part.strip() for part in parts if part.strip()]


def _source(fields: FormData) -> IO[bytes]:
    upload = fields.get("file")
    if isinstance(upload, UploadFile) and upload.size:
        return upload.file
    text = fields.get("rows")
    pasted = text if isinstance(text, str) else ""
    if not pasted.strip():
        message = "Paste some rows, or choose a file."
        raise InvalidRequestError(message, errors=[LineError("no_items", message, "")])
    return io.BytesIO(pasted.encode(errors="surrogatepass"))


def _media_type(source: IO[bytes]) -> str:
    start = source.read(PEEK_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    source.seek(0)
    if not start.startswith((b"{", b"[")):
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
    """The options of form and text together; what the text says goes before what the form says."""
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
