"""Results as a data frame: a row for each item, in input order."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from padserve.client.answers import Result
from padserve.errors import PadserveError

COLUMNS = (
    *("custom_id", "position", "user_id", "state", "text", "finish_reason", "reward", "kl"),
    *("prompt_tokens", "completion_tokens", "error_code", "error_message", "choices"),
    *("profile_version", "preference_hash", "attempts", "finished_at"),
)


def frame_of(results: Sequence[Result]) -> Any:  # noqa: ANN401 - a pandas.DataFrame
    """The results as pandas has them; what an item has not is missing."""
    try:
        pandas = import_module("pandas")  # only who wants a frame needs it
    except ImportError as error:
        raise PadserveError("Data frames need pandas: pip install pandas.") from error
    return pandas.DataFrame.from_records([_row(result) for result in results], columns=list(COLUMNS))


def _row(result: Result) -> dict[str, object]:
    usage, error = result.usage, result.error
    return asdict(result) | {
        "prompt_tokens": usage and usage.prompt_tokens,
        "completion_tokens": usage and usage.completion_tokens,
        "error_code": error and error.code,
        "error_message": error and error.message,
        "choices": None if result.choices is None else [choice.text for choice in result.choices],
    }
