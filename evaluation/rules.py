"""Rules that say whether a text keeps a principle: plain data in a suite, so that no model judges. Text only."""

import re
from collections.abc import Callable
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator, model_validator
from pydantic import Field as Constrained

Phrase = Annotated[str, StringConstraints(min_length=1)]
Phrases = Annotated[tuple[Phrase, ...], Constrained(min_length=1)]
Check = Callable[[str], bool]
PLACE = "{value}"
"""Where a value goes, in the wordings and the rule of a principle that has one."""


class Rule(BaseModel):
    """One condition on a text, by the one field that is set; `all` and `any` hold further rules.

    Phrases are found as whole words, capitals or not; `regex` is searched as it is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contains_any: Phrases | None = None
    not_contains: Phrases | None = None
    max_words: Annotated[int, Constrained(ge=0)] | None = None
    min_words: Annotated[int, Constrained(ge=0)] | None = None
    regex: Phrase | None = None
    starts_with: Phrases | None = None
    ends_with: Phrases | None = None
    all: Annotated[tuple["Rule", ...], Constrained(min_length=1)] | None = None
    any: Annotated[tuple["Rule", ...], Constrained(min_length=1)] | None = None

    @field_validator("regex")
    @classmethod
    def _the_pattern_compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _exactly_one_condition(self) -> Self:
        if len(self.model_fields_set) != 1 or getattr(self, *self.model_fields_set) is None:
            raise ValueError(f"a rule has exactly one of {', '.join(type(self).model_fields)}")
        return self

    def with_value(self, value: str) -> "Rule":
        """The rule with the value at its place; in a pattern, the value stands for itself."""
        return Rule.model_validate({kind: _filled(kind, getattr(self, kind), value) for kind in self.model_fields_set})

    @property
    def has_place(self) -> bool:
        """Whether there is a place for a value."""
        return PLACE in self.model_dump_json()

    def check(self) -> Check:
        """The rule as a function of a text, its patterns compiled once."""
        (kind,) = self.model_fields_set
        value = getattr(self, kind)
        return _CHECKS[kind](value)


def _filled(kind: str, condition: object, value: str) -> object:
    if isinstance(condition, str):
        return condition.replace(PLACE, re.escape(value) if kind == "regex" else value)
    if isinstance(condition, tuple):
        return tuple(_filled(kind, part, value) for part in condition)
    return condition.with_value(value) if isinstance(condition, Rule) else condition


def num_words(text: str) -> int:
    """Runs of letters, digits, hyphens and apostrophes."""
    return len(re.findall(r"[\w'-]+", text))


def contains(text: str, phrases: tuple[str, ...]) -> bool:
    """Whether any of the phrases stands in the text as whole words, capitals or not."""
    return _contains_any(phrases)(text)


def _contains_any(phrases: tuple[str, ...]) -> Check:
    pattern = re.compile("|".join(map(_whole_words, phrases)), re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


def _not_contains(phrases: tuple[str, ...]) -> Check:
    found = _contains_any(phrases)
    return lambda text: not found(text)


def _whole_words(phrase: str) -> str:
    """A pattern of the phrase; a word boundary where it begins or ends with a letter or digit."""
    start, end = (r"\b" if re.match(r"\w", letter) else "" for letter in (phrase[0], phrase[-1]))
    return f"{start}{re.escape(phrase)}{end}"


def _max_words(most: int) -> Check:
    return lambda text: num_words(text) <= most


def _min_words(least: int) -> Check:
    return lambda text: num_words(text) >= least


def _regex(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda text: compiled.search(text) is not None


def _starts_with(phrases: tuple[str, ...]) -> Check:
    return lambda text: text.lstrip().casefold().startswith(tuple(phrase.casefold() for phrase in phrases))


def _ends_with(phrases: tuple[str, ...]) -> Check:
    return lambda text: text.rstrip().casefold().endswith(tuple(phrase.casefold() for phrase in phrases))


def _all(rules: tuple[Rule, ...]) -> Check:
    checks = [rule.check() for rule in rules]
    return lambda text: all(check(text) for check in checks)


def _any(rules: tuple[Rule, ...]) -> Check:
    checks = [rule.check() for rule in rules]
    return lambda text: any(check(text) for check in checks)


_CHECKS: dict[str, Callable[..., Check]] = {
    "contains_any": _contains_any,
    "not_contains": _not_contains,
    "max_words": _max_words,
    "min_words": _min_words,
    "regex": _regex,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "all": _all,
    "any": _any,
}
