"""The texts that the base writes, request by request, in a guide's tokens."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from worker.engine.cache.prefixes import TicketId
from worker.engine.cross_tokenizer.retokenizing import Continued, GrowingText, Retokenizer
from worker.engine.cross_tokenizer.spelling import Spelling, complete


@dataclass(frozen=True, slots=True)
class Crossing:
    """How a guide reads what the base writes."""

    spelling: Spelling
    """The bytes of the base's tokens."""
    retokenizer: Retokenizer
    """The guide's tokenizer."""
    ends: frozenset[int]
    """The base's tokens that end an answer."""
    end: int | None
    """The guide's token that ends an answer; None where it has none: then an end adds nothing."""


class Texts:
    """The growing texts of the requests that decode, by request."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing = crossing
        self._texts: dict[TicketId, GrowingText] = {}

    def continued(self, candidates: Mapping[TicketId, Sequence[int]]) -> dict[TicketId, Continued]:
        """Each request's text with each of its candidates: all of them are tokenized at once."""
        spelling, retokenizer = self.crossing.spelling, self.crossing.retokenizer
        texts = {request_id: self.text(request_id) for request_id in candidates}
        spelt = {key: texts[key].candidates(spelling, token_ids) for key, token_ids in candidates.items()}
        distinct = [*dict.fromkeys(text for of_request in spelt.values() for text in of_request)]
        tokens = dict(zip(distinct, retokenizer.tokens(distinct), strict=True))
        return {
            key: texts[key].continued(
                [tokens[text] + self.end_of(token_id) for text, token_id in zip(spelt[key], token_ids, strict=True)]
            )
            for key, token_ids in candidates.items()
        }

    def text(self, request_id: TicketId) -> GrowingText:
        """What the request has written so far."""
        return self._texts.get(request_id, GrowingText())

    def append(self, request_id: TicketId, token_id: int) -> None:
        """Add the token of the base that was chosen to the request's text."""
        text = self._texts.setdefault(request_id, GrowingText())
        text.append(self.crossing.spelling, token_id, self.crossing.retokenizer)

    def forget(self, request_ids: Collection[TicketId]) -> None:
        """Drop the texts of these requests; unknown ones are no error."""
        for request_id in request_ids:
            self._texts.pop(request_id, None)

    def whole(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """What tokens of the base spell, in the guide's; with its end, if the last one ends an answer."""
        text, _ = complete(self.crossing.spelling.spelt(token_ids, at_start=True))
        return self.crossing.retokenizer.tokens([text])[0] + self.end_of(token_ids[-1])

    def end_of(self, token_id: int) -> tuple[int, ...]:
        """The guide's token that ends an answer, if this one of the base's does; else nothing."""
        end = self.crossing.end
        return () if end is None or token_id not in self.crossing.ends else (end,)
