"""A profile as a form, and a form as a profile; and in which words two versions differ. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData

from api.dashboard.form_values import finite, number_in, text_of
from api.http.errors import InvalidRequestError, LineError, line_errors
from api.profiles.schemas import MAX_WEIGHT, ProfileBody
from domain.json_values import JsonObject

BLANK_ROWS = 1
SLIDER_END = 3.0
"""A weight of 1 is usual; the slider goes on to what is there, where that is more."""
LABELS = {"max_kl": "Budget", "learn": "Learning", "attributes": "Attributes", "tags": "Tags", "metadata": "Metadata"}


@dataclass(frozen=True, slots=True)
class WeightRow:
    """A principle in the form."""

    text: str
    weight: str
    end: float
    """Of its slider."""


@dataclass(frozen=True, slots=True)
class ProfileForm:
    """What the form shows: as stored, or as it was sent, whatever is wrong with it."""

    principles: Sequence[WeightRow]
    examples: Sequence[str]
    attributes: Sequence[tuple[str, str]]
    strength: str
    max_kl: str
    method: str
    tags: str
    learn: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One field or principle that differs, as it was and as it is."""

    name: str
    before: str
    after: str


def form_of_body(body: Mapping[str, Any]) -> ProfileForm:
    """The form for a stored body, with room for one more principle, example and attribute."""
    principles = [(each["text"], f"{each['weight']:g}") for each in body.get("principles", ())]
    return ProfileForm(
        principles=_rows(principles),
        examples=[*body.get("examples", ()), ""],
        attributes=[*sorted(body.get("attributes", {}).items()), ("", "")],
        strength=_shown(body.get("strength")),
        max_kl=_shown(body.get("max_kl")),
        method=str(body.get("method") or ""),
        tags=", ".join(body.get("tags", ())),
        learn=bool(body.get("learn")),
    )


def form_as_sent(fields: FormData) -> ProfileForm:
    """The form with what was typed into it, whatever is wrong with that."""
    return ProfileForm(
        principles=_rows(list(_pairs(fields, "principle", "weight"))),
        examples=[*(text for text in _texts(fields, "example") if text.strip()), ""],
        attributes=[*(pair for pair in _pairs(fields, "attribute", "value") if any(pair)), ("", "")],
        strength=text_of(fields, "strength"),
        max_kl=text_of(fields, "max_kl"),
        method=text_of(fields, "method"),
        tags=text_of(fields, "tags"),
        learn=fields.get("learn") == "on",
    )


def body_as_sent(fields: FormData, metadata: object) -> ProfileBody:
    """The profile that a form stands for; metadata is not in the form and stays. Raises InvalidRequestError."""
    errors: list[LineError] = []
    principles = [
        {"text": text, "weight": number_in(weight.strip(), f"/principles/{index}/weight", errors)}
        for index, (text, weight) in enumerate(_given(fields))
    ]
    body = {
        "principles": [{name: value for name, value in each.items() if value is not None} for each in principles],
        "method": text_of(fields, "method") or None,
        "strength": number_in(text_of(fields, "strength"), "/strength", errors),
        "max_kl": number_in(text_of(fields, "max_kl"), "/max_kl", errors),
        "examples": [text for text in _texts(fields, "example") if text.strip()],
        "attributes": {name: value for name, value in _pairs(fields, "attribute", "value") if name},
        "tags": [tag for part in text_of(fields, "tags").split(",") if (tag := part.strip())],
        "metadata": metadata or {},
        "learn": fields.get("learn") == "on",
    }
    if errors:
        raise InvalidRequestError(errors=errors)
    try:
        return ProfileBody.model_validate(body)
    except ValidationError as error:
        raise InvalidRequestError(errors=line_errors(error)) from None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """How one stored body differs from another, principle by principle and field by field."""
    return [
        *_of_weights(before, after),
        *_of_texts("Example", before.get("examples", ()), after.get("examples", ())),
        *(
            Difference(LABELS.get(name, name.capitalize()), _said(before.get(name)), _said(after.get(name)))
            for name in ("method", "strength", "max_kl", "tags", "attributes", "learn", "metadata")
            if _of_account(before.get(name)) != _of_account(after.get(name))
        ),
    ]


def _of_account(value: Any) -> Any:  # noqa: ANN401 - any value of a stored body
    """None for whatever says as much as nothing; 0 says something."""
    return None if value is False or (isinstance(value, str | list | dict) and not value) else value


def _of_weights(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    old, new = ({each["text"]: each["weight"] for each in body.get("principles", ())} for body in (before, after))
    for text in dict.fromkeys([*old, *new]):
        if old.get(text) != new.get(text):
            yield Difference(f"\u201c{text}\u201d", _said(old.get(text)), _said(new.get(text)))


def _of_texts(name: str, before: Sequence[str], after: Sequence[str]) -> Iterator[Difference]:
    gone = [text for text in before if text not in after]
    come = [text for text in after if text not in before]
    for old, new in zip_longest(gone, come, fillvalue=""):
        yield Difference(name, old or _said(None), new or _said(None))


def _rows(principles: Sequence[tuple[str, str]]) -> list[WeightRow]:
    given = [(text, weight) for text, weight in principles if text.strip()]
    blank = [("", "1")] * BLANK_ROWS
    return [WeightRow(text, weight, _slider_end(weight)) for text, weight in [*given, *blank]]


def _slider_end(weight: str) -> float:
    value = finite(weight)
    return SLIDER_END if value is None or value <= SLIDER_END else MAX_WEIGHT


def _given(fields: FormData) -> list[tuple[str, str]]:
    return [(text, weight) for text, weight in _pairs(fields, "principle", "weight") if text.strip()]


def _pairs(fields: FormData, first: str, second: str) -> Iterator[tuple[str, str]]:
    return zip(
        (text.strip() for text in _texts(fields, first)), (text for text in _texts(fields, second)), strict=False
    )


def _texts(fields: FormData, name: str) -> list[str]:
    return [str(value).replace("\r\n", "\n") for value in fields.getlist(name)]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else ""


def _said(value: Any) -> str:  # noqa: ANN401 - any value of a stored body
    if value is None or value in ({}, [], ""):
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text}" for name, text in sorted(value.items()))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def stored_metadata(body: JsonObject | None) -> object:
    """What the form does not show of a stored body, and keeps."""
    return (body or {}).get("metadata")
