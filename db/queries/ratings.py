"""How users rated texts: kept, so that two ratings of one prompt make a pair whenever they come."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from db.batches import batches
from db.models import FeedbackRating, Item, Job, Result
from db.session import now
from domain.json_values import JsonObject
from domain.pairs import PreferredPair
from domain.preferences import digest
from domain.states import ItemState

ROWS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class RatableText:
    """A result's text, for whom it was written, and from what."""

    user_id: str
    messages: list[JsonObject]
    text: str


@dataclass(frozen=True, slots=True)
class Rating:
    """How much a user liked a text; only which of two ratings is higher counts."""

    messages: list[JsonObject]
    text: str
    rating: float

    @property
    def prompt_digest(self) -> str:
        """Digest of the prompt: two ratings with the same one and different texts can make a pair."""
        return digest(self.messages)

    @property
    def digest(self) -> str:
        """Digest of prompt and text, by which a rating of the same text is known again."""
        return digest([self.messages, self.text])


def ratable_texts(
    session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID, custom_ids: Sequence[str]
) -> dict[str, RatableText]:
    """The texts of these items of a job, by custom id; items that have none, or are not there, are left out."""
    found: dict[str, RatableText] = {}
    for some in batches(sorted(set(custom_ids)), ROWS_PER_QUERY):
        rows = session.execute(
            select(Item.custom_id, Item.user_id, Item.messages, Result.text)
            .join(Job, Job.id == Item.job_id)
            .join(Result, Result.item_id == Item.id)
            .where(
                Job.tenant_id == tenant_id,
                Item.job_id == job_id,
                Item.custom_id.in_(some),
                Item.state == ItemState.SUCCEEDED,
            )
        )
        found.update((row.custom_id, RatableText(row.user_id, row.messages, row.text)) for row in rows)
    return found


def pairs_made(
    session: Session, profile_id: uuid.UUID, ratings: Sequence[Rating]
) -> Iterator[tuple[int, PreferredPair]]:
    """Every two texts of one prompt that are rated differently, of which at least one is rated here.

    The other may be one that was kept before, unless it is rated anew here. Each pair comes with the place, from 0,
    of the later of its ratings.
    """
    rated = _kept(session, profile_id, {rating.prompt_digest for rating in ratings})
    for rating in ratings:
        rated.setdefault(rating.prompt_digest, {}).pop(rating.text, None)
    for index, one in enumerate(ratings):
        texts = rated[one.prompt_digest]
        for other, its_rating in texts.items():
            if other != one.text and its_rating != one.rating:
                chosen, rejected = (one.text, other) if one.rating > its_rating else (other, one.text)
                yield index, PreferredPair(one.messages, chosen, rejected)
        texts[one.text] = one.rating


def keep(session: Session, profile_id: uuid.UUID, ratings: Sequence[Rating]) -> None:
    """Store the ratings; the last of a text counts."""
    moment = now(session)
    last = {rating.digest: rating for rating in ratings}
    for some in batches(last, ROWS_PER_QUERY):
        session.execute(
            delete(FeedbackRating).where(FeedbackRating.profile_id == profile_id, FeedbackRating.digest.in_(some))
        )
        rows = [
            {
                "profile_id": profile_id,
                "digest": rated,
                "prompt_digest": last[rated].prompt_digest,
                "text": last[rated].text,
                "rating": last[rated].rating,
                "created_at": moment,
            }
            for rated in some
        ]
        session.execute(insert(FeedbackRating), rows)


def num_ratings(session: Session, profile_id: uuid.UUID) -> int:
    """Texts whose ratings are kept of a profile."""
    return session.scalars(select(func.count()).where(FeedbackRating.profile_id == profile_id)).one()


def _kept(session: Session, profile_id: uuid.UUID, prompts: set[str]) -> dict[str, dict[str, float]]:
    """Ratings by prompt and text, in the order they came."""
    found: dict[str, dict[str, float]] = {}
    for some in batches(sorted(prompts), ROWS_PER_QUERY):
        rows = session.execute(
            select(FeedbackRating.prompt_digest, FeedbackRating.text, FeedbackRating.rating)
            .where(FeedbackRating.profile_id == profile_id, FeedbackRating.prompt_digest.in_(some))
            .order_by(FeedbackRating.id)
        )
        for row in rows:
            found.setdefault(row.prompt_digest, {})[row.text] = row.rating
    return found
