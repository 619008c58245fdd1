"""Whether an item can fit a model, as far as that is known without its tokenizer. Never refuses one that would fit."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from db.base import JsonObject
from db.model_descriptions import ModelDescription


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

    def excess(self, messages: Sequence[JsonObject], max_tokens: int) -> Excess | None:
        """What is too much of the item; None where it may fit."""
        least, length = self._least_tokens(messages), self._model.max_length
        if least + max_tokens <= length:
            return None
        takes = f"`{self._name}` takes {length} tokens of prompt and answer together"
        if least >= length:
            message = f"The prompt has at least {least} tokens, and {takes}: shorten it."
            return Excess("prompt_too_long", message, is_the_prompts=True)
        message = (
            f"`max_tokens` {max_tokens} does not fit: {takes}, and this prompt needs at least {least}; "
            f"lower `max_tokens` to at most {length - least}."
        )
        return Excess("max_tokens_too_large", message, is_the_prompts=False)

    def foreign_token(self, token_ids: Iterable[int]) -> str | None:
        """That one of these tokens is none of the model's, in a sentence; None where all may be."""
        foreign = next((token_id for token_id in token_ids if token_id >= self._model.vocab_size), None)
        if foreign is None:
            return None
        return f"`logit_bias` names token {foreign}, and `{self._name}` has tokens 0 to {self._model.vocab_size - 1}."

    def _least_tokens(self, messages: Sequence[JsonObject]) -> int:
        """Fewer cannot be: templates may drop earlier turns and trim the last one, tokenizers may compose (NFC)."""
        longest = self._model.longest_token_bytes
        if not longest:
            return self._model.num_template_tokens + 1
        text = str(messages[-1]["content"])
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        return self._model.num_template_tokens + math.ceil(len(text.strip().encode()) / longest)
