"""The seam between the forms in which a job can be submitted and what is made of its items."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sqlalchemy.orm import Session

from api.http.errors import LineError
from api.jobs.schemas import Options, Overrides
from api.submissions.inspection import Inspection
from db.queries.profiles import PinnedProfile
from domain.json_values import JsonObject


class Place(NamedTuple):
    """Where something was written: a line of NDJSON, or a part of one JSON text. A tuple: there are many."""

    line: int | None = None
    prefix: str = ""

    @property
    def label(self) -> str:
        """How one row tells of another; no two places have the same."""
        return f"`{self.prefix}`" if self.line is None else f"Line {self.line}"

    def error(self, code: str, message: str, pointer: str = "") -> LineError:
        """An error at this place, or at `pointer` within it, to be collected and not raised."""
        return LineError(code=code, message=message, pointer=self.prefix + pointer, line=self.line)


AT_THE_TOP = Place()


class Candidate(NamedTuple):
    """One item that is right in itself, and the profile of its user. A tuple: there are many."""

    custom_id: str
    profile: PinnedProfile
    messages: list[JsonObject]
    place: Place
    text_pointer: str
    """Where, within the place, its text was written."""
    own: Overrides
    """The settings that the item states itself; they go before the job's defaults and the profile."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """A job's options, and what was wrong with them: then they are as if unsaid, and the items are still looked at."""

    options: Options = field(default_factory=Options)
    place: Place = AT_THE_TOP
    errors: Sequence[LineError] = ()
    listener: str | None = None
    """The name (`listener_of`) of the client that is sent the texts while they grow; None where nobody is."""
    token_rewards: bool = False
    """Whether to keep what guided each token."""
    given: str | None = None
    """The text that is read where none is to be written."""


class ItemSource(Protocol):
    """A form in which a job is submitted: what it says once, and its items."""

    @property
    def head(self) -> ReadOptions:
        """What the job says once for all of its items."""
        ...

    def candidates(self, session: Session, tenant_id: uuid.UUID, inspection: Inspection) -> Iterator[Candidate]:
        """The items, in order; `inspection` counts every row and is told what is wrong with the others."""
        ...
