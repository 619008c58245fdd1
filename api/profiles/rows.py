"""One line of an import: a patch of a profile that there may not be yet. Pure values.

What a line leaves out stays as it is. So do weights that feedback has learnt, as long as the line states none, or
those that a client has stated before: the same line, however often it comes, says nothing new.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from api.http.errors import InvalidRequestError, line_errors
from api.http.merge_patch import merge_patch
from api.profiles.schemas import ImportedProfile, PrincipleBody, ProfileBody
from db.queries.profile_imports import Said
from domain.json_values import JsonObject
from domain.preferences import Method


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """The change that one line of an import makes to one user's profile."""

    user_id: str
    method: Method | None
    line: int
    patch: JsonObject
    """In canonical form, with null for what is to be removed; without the principles, which have their own rule."""
    principles: Sequence[PrincipleBody] | None

    def change(self, said: Said | None) -> JsonObject:
        """The body that comes of it. Raises InvalidRequestError, with the line, where the whole is too large."""
        stored = {} if said is None else said.body
        merged = merge_patch(stored, self.patch)
        if self.principles is not None:
            cast("JsonObject", merged)["principles"] = _weighed(self.principles, said)
        if said is not None and merged == stored:
            return stored
        try:
            return ProfileBody.model_validate(merged).canonical()
        except ValidationError as error:
            raise InvalidRequestError(errors=line_errors(error, line=self.line)) from None


def read_row(value: object, line: int) -> ProfileRow:
    """The row in a JSON value; a null counts as said, and is checked as if it were not there.

    Raises pydantic's ValidationError with everything that is wrong with the value.
    """
    given = value if isinstance(value, dict) else {}
    unknown = dict.fromkeys(given.keys() - ImportedProfile.model_fields.keys())
    without_nulls = merge_patch({}, value)
    row = ImportedProfile.model_validate(without_nulls | unknown if isinstance(without_nulls, dict) else value)
    patch = row.model_dump(mode="json", include=row.model_fields_set - {"user_id", "principles"})
    for name, part in given.items():
        if part is None:
            patch[name] = None
        elif isinstance(part, dict):
            patch[name] |= dict.fromkeys(key for key, entry in part.items() if entry is None)
    states_principles = "principles" in row.model_fields_set
    return ProfileRow(row.user_id, row.method, line, patch, row.principles if states_principles else None)


def _weighed(principles: Sequence[PrincipleBody], said: Said | None) -> list[JsonObject]:
    """The principles as a line names them; one without a weight keeps the one it has, and all do if none is new."""
    present = _weights(said.body["principles"]) if said is not None else {}
    forms = map(_weights, said.forms) if said is not None else ()
    if any(_says_the_same(principles, form) for form in forms):
        return [{"text": principle.text, "weight": present[principle.text]} for principle in principles]
    return [
        {
            "text": principle.text,
            "weight": principle.weight if _is_stated(principle) else present.get(principle.text, 1.0),
        }
        for principle in principles
    ]


def _says_the_same(principles: Sequence[PrincipleBody], weights: Mapping[str, float]) -> bool:
    return {principle.text for principle in principles} == weights.keys() and all(
        principle.weight == weights[principle.text] for principle in principles if _is_stated(principle)
    )


def _is_stated(principle: PrincipleBody) -> bool:
    return "weight" in principle.model_fields_set


def _weights(principles: object) -> dict[str, float]:
    """Weights of stored principles, by their texts."""
    stored = cast("list[dict[str, Any]]", principles)
    return {entry["text"]: entry["weight"] for entry in stored}
