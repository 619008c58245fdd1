"""Whether an item can fit a model, as far as that is known without its tokenizer. Never refuses one that would fit."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from domain.json_values import JsonObject
from domain.model_descriptions import ModelDescription
from domain.preferences import EffectivePreference, Method
from domain.sampling import Sampling

TURNS_PER_EXAMPLE = 2
# What templates cut out of turns stands between marks that begin so: "<think>", "<|channel|>", "[THINK]".
MARKS = "<["
PREFERENCES_REMEMBERED = 128


@dataclass(frozen=True, slots=True)
class Excess:
    """Why an item cannot fit, in words of what its author can change."""

    code: str
    message: str
    is_the_prompts: bool


class ModelLimits:
    """The limits of one model."""

    def __init__(self, name: str, model: ModelDescription) -> None:
        self._name = name
        self._model = model

    def excess(
        self, messages: Sequence[JsonObject], preference: EffectivePreference, sampling: Sampling
    ) -> Excess | None:
        """What is too much of the item; None where it may fit."""
        # What a client's own arguments make a template do, nobody has seen.
        least = self._least_tokens(messages, preference, knows_turns=not sampling.template)
        max_tokens, length = sampling.max_tokens, self._model.max_length
        if least + max_tokens <= length:
            return None
        takes = f"`{self._name}` takes {length} tokens of prompt and answer together"
        steered = bool(preference.principles or preference.examples)
        prompt = "The prompt, with what is shown of the preference," if steered else "The prompt"
        if least >= length:
            message = f"{prompt} has at least {least} tokens, and {takes}: shorten it."
            return Excess("prompt_too_long", message, is_the_prompts=True)
        message = (
            f"`max_tokens` {max_tokens} does not fit: {takes}, and this prompt needs at least {least}; "
            f"lower `max_tokens` to at most {length - least}."
        )
        return Excess("max_tokens_too_large", message, is_the_prompts=False)

    def num_bytes_within(self, preference: EffectivePreference, sampling: Sampling) -> int | None:
        """So long, in bytes of its normal form (NFC), a single turn is never too much; None where any length may fit.

        At most: what is added up token by token here may be a token less together.
        """
        least = self._least_tokens([{"role": "user", "content": ""}], preference, knows_turns=not sampling.template)
        spare = self._model.max_length - sampling.max_tokens - least
        if spare < 0 or self._model.longest_token_bytes:
            return max(spare, 0) * self._model.longest_token_bytes
        return None

    def foreign_token(self, token_ids: Iterable[int]) -> str | None:
        """That one of these tokens is none of the model's, in a sentence; None where all may be."""
        foreign = next((token_id for token_id in token_ids if token_id >= self._model.vocab_size), None)
        if foreign is None:
            return None
        return f"`logit_bias` names token {foreign}, and `{self._name}` has tokens 0 to {self._model.vocab_size - 1}."

    def _least_tokens(
        self, messages: Sequence[JsonObject], preference: EffectivePreference, *, knows_turns: bool
    ) -> int:
        """Of the item's longest prompt; fewer cannot be.

        Templates may trim turns, cut marked parts out of them, and, unless the worker saw that this one does not, leave
        out turns before the last; tokenizers may compose letters (NFC).
        """
        *earlier, last = [str(turn["content"]) for turn in messages]
        least = self._model.num_template_tokens
        num_bytes = _num_bytes(last) + _num_bytes_shown(preference)
        if knows_turns and self._model.num_turn_tokens is not None:
            kept = [text for text in (*earlier, *preference.examples) if not any(mark in text for mark in MARKS)]
            num_bytes += sum(map(_num_bytes, kept))
            num_turns = sum(turn["role"] != "system" for turn in messages[:-1])
            num_turns += TURNS_PER_EXAMPLE * len(preference.examples)
            least += self._model.num_turn_tokens * num_turns
        longest = self._model.longest_token_bytes
        return least + (math.ceil(num_bytes / longest) if longest else 1)


@lru_cache(PREFERENCES_REMEMBERED)  # neighbours in a job share a few
def _num_bytes_shown(preference: EffectivePreference) -> int:
    """Bytes of the principles that stand in one prompt, without white space: formats may join words otherwise."""
    sizes = [_num_bytes("".join(principle.text.split())) for principle in preference.principles]
    return max(sizes, default=0) if preference.method is Method.MIXTURE else sum(sizes)


def _num_bytes(text: str) -> int:
    if text.isascii():
        return len(text.strip())
    return len(unicodedata.normalize("NFC", text).strip().encode())
