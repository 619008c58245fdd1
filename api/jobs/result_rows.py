"""A result as clients read it: as a JSON object, or as a row of a CSV. Pure values, plain, as there are many."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic_core import to_json

from api.http.bodies import CHUNK_BYTES
from db.queries.results import ResultRow
from domain.holdouts import Holdout
from domain.json_values import JsonObject

COLUMNS = (
    *("custom_id", "position", "user_id", "state", "text", "finish_reason", "reward", "kl"),
    *("prompt_tokens", "completion_tokens", "error_code", "error_message", "choices"),
    *("profile_version", "preference_hash", "attempts", "finished_at"),
)
BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet takes for the beginning of a formula; with the quotes before it, so that one can be taken off.
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?")


@dataclass(frozen=True, slots=True)
class Shown:
    """Which optional parts of a result are shown: the hold-out, the prompt, and attributes by name."""

    holdout: Holdout | None = None
    prompt: bool = False
    attributes: Sequence[str] = ()


class FoundResult(NamedTuple):
    """A row, and those of its user's attributes that are shown: None where the profile is gone."""

    row: ResultRow
    attributes: Mapping[str, str | None] | None = None


def as_object(found: FoundResult, shown: Shown) -> JsonObject:
    """The JSON object of one result, with the fields of `ResultOut`."""
    row = found.row
    num_prompt, num_completion = row.num_prompt_tokens, row.num_completion_tokens
    usage = None
    if num_prompt is not None and num_completion is not None:
        usage = {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_completion,
            "total_tokens": num_prompt + num_completion,
        }
    value: JsonObject = {
        "custom_id": row.custom_id,
        "position": row.position,
        "user_id": row.user_id or None,
        "profile_version": row.profile_version or None,
        "preference_hash": row.preference_hash,
        "state": str(row.state),  # an enumeration takes as long to write as all the numbers
        "text": row.text,
        "finish_reason": row.finish_reason,
        "usage": usage,
        "reward": row.reward,
        "rewards": row.rewards,
        "kl": row.kl,
        "holdout": None if shown.holdout is None else shown.holdout.holds_out(row.user_id),
        "choices": row.choices,
        "error": None if row.error_code is None else {"code": row.error_code, "message": row.error_message},
        "finished_at": row.finished_at,
        "attempts": row.attempts,
    }
    if shown.prompt:
        value["prompt"], value["messages"] = prompt_of(row.messages)
    if shown.attributes:
        value["attributes"] = None if found.attributes is None else dict(found.attributes)
    return value


def prompt_of(messages: Sequence[JsonObject] | None) -> tuple[str | None, Sequence[JsonObject] | None]:
    """What was asked: a prompt where it was one, else the conversation."""
    if messages is not None and len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"]), None
    return None, messages


def csv_chunks(found: Iterable[FoundResult], shown: Shown, *, with_mark: bool) -> Iterator[bytes]:
    """RFC 4180 with a header, in UTF-8; no text in it is taken for a formula."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    if with_mark:
        buffer.write(BYTE_ORDER_MARK)
    writer.writerow(_header(shown))
    for each in found:
        writer.writerow(_cells(each, shown))
        if buffer.tell() >= CHUNK_BYTES:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def guarded(text: str) -> str:
    """The text as a spreadsheet shows it and does not reckon with it: a quote before what would begin a formula.

    What begins with quotes and then so gets one more, so that taking one off gives the text back. Numbers stay.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    """The text of which `guarded` made this cell; any other text is returned as it is."""
    return text[1:] if text.startswith("'") and guarded(text[1:]) == text else text


def _header(shown: Shown) -> list[str]:
    added = [*(["holdout"] if shown.holdout else []), *(["prompt"] if shown.prompt else [])]
    return [*COLUMNS, *added, *(guarded(f"attributes.{name}") for name in shown.attributes)]


def _cells(found: FoundResult, shown: Shown) -> list[object]:
    row = found.row
    choices = None if row.choices is None else to_json([choice["text"] for choice in row.choices]).decode()
    cells: list[object] = [
        *(_text(row.custom_id), row.position, _text(row.user_id), row.state.value, _text(row.text), row.finish_reason),
        *(row.reward, row.kl, row.num_prompt_tokens, row.num_completion_tokens),
        *(row.error_code, _text(row.error_message), _text(choices)),
        *(row.profile_version or None, row.preference_hash, row.attempts, row.finished_at.isoformat()),
    ]
    if shown.holdout:
        cells.append("true" if shown.holdout.holds_out(row.user_id) else "false")
    if shown.prompt:
        prompt, messages = prompt_of(row.messages)
        cells.append(_text(prompt if messages is None else to_json(messages).decode()))
    values = found.attributes or {}
    return [*cells, *(_text(values.get(name)) for name in shown.attributes)]


def _text(text: str | None) -> str | None:
    return None if text is None else guarded(text)
