"""How PAD's released code guides a base with another tokenizer: a baseline to measure against, no part of the engine.

A candidate is decoded by itself, what that spells is encoded with the guide's tokenizer, and the guide's logit of the
first token that comes out is the candidate's: a word that the guide writes in three tokens is judged by its first.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from transformers import PreTrainedTokenizerBase

from worker.engine import Engine
from worker.engine.cache.prefixes import TicketId
from worker.engine.cross_tokenizer.retokenizing import Continued, GrowingText
from worker.engine.cross_tokenizer.runner import TextRunner
from worker.engine.cross_tokenizer.texts import Crossing, Texts

First = Callable[[int], tuple[int, ...]]
"""From a token of the base to the guide's first token of what it spells; none where it spells nothing."""


def first_sub_tokens(of_base: PreTrainedTokenizerBase, of_guide: PreTrainedTokenizerBase) -> First:
    """As the released code finds them: by decoding a token alone, and encoding that."""

    @cache
    def first(token_id: int) -> tuple[int, ...]:
        return tuple(of_guide.encode(str(of_base.decode([token_id])), add_special_tokens=False)[:1])

    return first


class FirstSubTokens(Texts):
    """The text so far as a whole, and behind it one token for each candidate.

    In one thing it is kinder than the released code, which never ends: a token that ends the base's answer is the one
    that ends the guide's. Logits and log-probabilities differ by a number that all candidates share, which decides
    nothing.
    """

    def __init__(self, crossing: Crossing, first: First) -> None:
        super().__init__(crossing)
        self._first = first

    def continued(self, candidates: Mapping[TicketId, Sequence[int]]) -> dict[TicketId, Continued]:
        """Each request's text with each of its candidates."""
        return {key: self._with_firsts(self.text(key), token_ids) for key, token_ids in candidates.items()}

    def _with_firsts(self, text: GrowingText, token_ids: Sequence[int]) -> Continued:
        (written,) = self.crossing.retokenizer.tokens([text.open])
        ends = (self.end_of(token_id) or self._first(token_id) for token_id in token_ids)
        return text.continued([written + end for end in ends])


def judge_by(engine: Engine, texts: Callable[[Crossing], Texts]) -> None:
    """From now on, guides with other tokenizers judge these; nothing may be under way in the engine."""
    for runner in engine._models.runners:  # noqa: SLF001 # a baseline is no reason for a way in that all engines have
        if isinstance(runner, TextRunner):
            runner.texts = texts(runner.texts.crossing)
