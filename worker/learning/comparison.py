"""Which of two texts a principle speaks for: the features that weights are learnt from. Knows engine and tokenizer."""

import math
from collections.abc import Callable, Sequence
from typing import cast

from transformers import PreTrainedTokenizerBase

from domain.pairs import PreferredPair
from worker.engine import Engine, Score, ScoreRequest
from worker.supervision.protocol import Features
from worker.texts.formats import Format, Message, with_principles
from worker.texts.methods import Encode, Guide
from worker.texts.prompts import PromptError


class Comparison:
    """Scores pairs as `mixture` weighs them in decoding.

    In each, `sum_t log pi_guide(principle) - log pi_reference(plain)`, once for each principle.
    """

    def __init__(
        self, engine: Engine, tokenizer: PreTrainedTokenizerBase, encode: Encode, format: Format, guide: Guide
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._encode = encode
        self._format = format
        self._guide = guide

    def features(
        self, pairs: Sequence[PreferredPair], principles: Sequence[str], on_progress: Callable[[], None]
    ) -> list[Features | None]:
        """How much more each principle speaks for the chosen text than for the rejected one."""
        completions = {text: self._completion(text) for pair in pairs for text in (pair.chosen, pair.rejected)}
        requests = [
            ScoreRequest(request_id=0, weights=weights, prompt_ids=prompt, completion_ids=completions[text])
            for pair in pairs
            for weights, prompt in self._scored_streams(pair, principles)
            for text in (pair.chosen, pair.rejected)
        ]
        sums = [
            math.fsum(score.log_probabilities) if isinstance(score, Score) else None
            for score in self._engine.score(requests, on_progress)
        ]
        size = 2 * (1 + len(principles))
        return [_features(sums[start : start + size]) for start in range(0, len(sums), size)]

    def _scored_streams(self, pair: PreferredPair, principles: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
        """Weights and prompt ids: the reference without principles, then the guide with each."""
        messages = cast("list[Message]", pair.messages)
        # An empty prompt is refused by the engine, and the pair is left out.
        unscorable: list[tuple[str, tuple[int, ...]]] = [(self._guide.reference, ())] * (1 + len(principles))
        try:
            plain = self._encode(messages)
            if len(plain) >= self._engine.max_length:
                return unscorable  # at once: of a text of megabytes, each encoding takes seconds
            guided = [
                (self._guide.weights, self._encode(with_principles(messages, [principle], self._format)))
                for principle in principles
            ]
        except PromptError:
            return unscorable
        return [(self._guide.reference, plain), *guided]

    def _completion(self, text: str) -> tuple[int, ...]:
        """As the model would have written it: to its end of sequence, and text that stays text."""
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        end = self._tokenizer.eos_token_id
        return (*ids, *(() if end is None else (int(end),)))


def _features(sums: Sequence[float | None]) -> Features | None:
    """Features from log-likelihoods of chosen and rejected text in turn, under the reference, then each principle."""
    known = [value for value in sums if value is not None]
    if len(known) < len(sums):
        return None
    reference, *guided = (known[index] - known[index + 1] for index in range(0, len(known), 2))
    return tuple(value - reference for value in guided)
