"""Lines of NDJSON that hold `custom_id`, `user_id` and `prompt` alone, as nearly all do: read many at a time.

Knows no error: what is anything else than right and plain is left to whoever reads line by line.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from api.http.bodies import SpooledBody
from api.jobs.schemas import CustomId, Prompt
from api.profiles.schemas import UserId

LINES_PER_BATCH = 500
BYTES_PER_BATCH = 2**20
QUOTES_PER_LINE = 12
"""Of three keys and three texts."""


@with_config(ConfigDict(extra="forbid", strict=True))
class PlainItem(TypedDict):
    """One such line."""

    custom_id: CustomId
    user_id: str
    """As it was written; `PlainLines.user_ids` has its canonical form."""
    prompt: Prompt


class PlainLines(NamedTuple):
    """What such lines hold: users are looked at once, however many items each has."""

    items: list[PlainItem]
    user_ids: dict[str, str]
    """The users' canonical names, by how they were written."""


def line_batches(body: SpooledBody) -> Iterator[list[tuple[int, bytes]]]:
    """The body's lines with their numbers, in order, a bounded number of lines and bytes at a time."""
    batch: list[tuple[int, bytes]] = []
    num_bytes = 0
    for numbered in body.lines():
        batch.append(numbered)
        num_bytes += len(numbered[1])
        if len(batch) >= LINES_PER_BATCH or num_bytes >= BYTES_PER_BATCH:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def plain_lines(lines: Sequence[bytes]) -> PlainLines | None:
    """An item of each line; None where one of them is wrong, or holds anything else.

    They are parsed together, and still each is known to be an object of its own. No text reaches over the end of its
    line, which JSON would have escaped, and these objects hold no others: so each line that begins and ends with a
    brace has one at least, and an object has QUOTES_PER_LINE, or more where a key stands twice. So many for each line
    are then one object in each, without such a key.
    """
    joined = b"\n,".join(lines)
    if b"\\" in joined or joined.count(b'"') != QUOTES_PER_LINE * len(lines):
        return None
    if not all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
        return None
    try:
        items = _PLAIN_ITEMS.validate_json(b"[" + joined + b"]")
        user_ids = {written: _USER_ID.validate_python(written) for written in {item["user_id"] for item in items}}
    except ValidationError:
        return None
    return PlainLines(items, user_ids)


_PLAIN_ITEMS = TypeAdapter(list[PlainItem])
_USER_ID: TypeAdapter[str] = TypeAdapter(UserId, config=ConfigDict(strict=True))
