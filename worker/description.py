"""What a loaded model can do, for the registry: measured on its tokenizer and chat template. Knows no engine."""

import json

from transformers import PreTrainedTokenizerBase

from db.model_descriptions import ModelDescription, methods_of
from db.preferences import Method
from worker.card import Card
from worker.formats import Message
from worker.prompts import PromptError, encode

# Whatever a tokenizer may drop, fold or replace by "unknown" is in here; what comes back whole was accounted for whole.
PROBE = "Tea,  for\n\n\nTwo: ÀÉ ǅ \t ŉ ２½ 茶 กา \U0001f375 \U00010348 \ue000 end"


def describe(
    tokenizer: PreTrainedTokenizerBase,
    card: Card,
    *,
    digest: str,
    has_policy: bool,
    max_length: int,
    vocab_size: int,
) -> ModelDescription:
    """The description of a model with this tokenizer and this card, which is complete (`worker.decoder.completed`)."""
    return ModelDescription(
        digest=digest,
        methods=methods_of(has_policy=has_policy),
        default_method=card.method or (Method.PAD if has_policy else Method.CONTRAST),
        max_length=max_length,
        vocab_size=vocab_size,
        num_template_tokens=num_template_tokens(tokenizer),
        longest_token_bytes=longest_token_bytes(tokenizer),
        strength=1.0 if card.strength is None else card.strength,
        max_kl=card.max_kl,
        format=card.format.name,
        card=card.model_dump(mode="json"),
    )


def num_template_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """The least that the template adds to a text; a system turn of the client's may stand for one of its own."""
    blank = Message(role="user", content="")
    lengths = []
    for messages in ([blank], [Message(role="system", content=""), blank]):
        try:
            lengths.append(len(encode(tokenizer, messages)))
        except PromptError:
            continue
    return min(lengths, default=0)


def longest_token_bytes(tokenizer: PreTrainedTokenizerBase) -> int:
    """Bytes of UTF-8 that one token stands for at most; 0 where the tokenizer may leave some of a text out."""
    ids = tokenizer.encode(PROBE, add_special_tokens=False)
    whole = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if str(whole).strip() != PROBE:
        return 0
    # A byte-level vocabulary writes each byte as a character. Elsewhere a token stands for no more than it is written
    # with: a mark for a space is longer than a space, a token for one byte longer than a byte.
    size = len if _is_byte_level(tokenizer) else _num_bytes
    added = tokenizer.get_added_vocab()
    return max((_num_bytes if token in added else size)(token) for token in tokenizer.get_vocab())


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    return any(part.get("type") == "ByteLevel" for part in (decoder, *decoder.get("decoders", ())))


def _num_bytes(token: str) -> int:
    return len(token.encode())
