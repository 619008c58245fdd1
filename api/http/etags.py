"""Conditional requests (RFC 9110, section 13): entity tags as given, and whether they match. Knows no resource."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Header

from api.http.bounds import TagsOfEntities

ANY = "*"

IfMatch = Annotated[
    TagsOfEntities | None,
    Header(description="Only if the stored state has this entity tag; `*`: only if there is one."),
]
IfNoneMatch = Annotated[
    TagsOfEntities | None,
    Header(description="Only if the stored state has another entity tag; `*`: only if there is none."),
]


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What a request says about the state it expects."""

    if_match: tuple[str, ...] = ()
    if_none_match: tuple[str, ...] = ()

    def hold_for(self, etag: str | None) -> bool:
        """Whether a write may go on, where `etag` is the present state's, or None when there is no state."""
        if self.if_match and not _matches(self.if_match, etag):
            return False
        return not (self.if_none_match and _matches(self.if_none_match, etag))

    def not_modified(self, etag: str) -> bool:
        """Whether a reader has this state already. A weak tag is as good as a strong one here."""
        return _matches(tuple(tag.removeprefix("W/") for tag in self.if_none_match), etag)


async def preconditions(if_match: IfMatch = None, if_none_match: IfNoneMatch = None) -> Preconditions:
    """A dependency: the preconditions of this request."""
    return preconditions_of(if_match=if_match, if_none_match=if_none_match)


def preconditions_of(*, if_match: str | None = None, if_none_match: str | None = None) -> Preconditions:
    """The preconditions in the texts of these headers."""
    return Preconditions(_tags(if_match), _tags(if_none_match))


def _tags(header: str | None) -> tuple[str, ...]:
    """The tags of a header; ours hold no comma."""
    return tuple(tag.strip() for tag in header.split(",") if tag.strip()) if header else ()


def _matches(tags: tuple[str, ...], etag: str | None) -> bool:
    return etag is not None and (ANY in tags or etag in tags)
