"""What a loaded model can do, for the registry: measured on its tokenizer and chat template. Knows no engine."""

import json
from collections.abc import Sequence
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from domain.model_descriptions import ModelDescription, methods_of
from domain.preferences import MAX_EXAMPLES, Method
from worker.model.card import Card
from worker.texts.formats import Message
from worker.texts.prompts import PromptError, encode, special_ids

# Whatever a tokenizer may drop, fold or replace by "unknown" is in here; what comes back whole was accounted for whole.
PROBE = "Tea,  for\n\n\nTwo: ÀÉ ǅ \t ŉ ２½ 茶 กา \U0001f375 \U00010348 \ue000 end"
ROLES = ("user", "assistant")
NUM_TURNS = 2 * MAX_EXAMPLES + 3
"""Turns of the conversation that a template is tried on: an exchange, the most examples, and the last user turn."""


def describe(
    tokenizer: PreTrainedTokenizerBase,
    card: Card,
    *,
    digest: str,
    has_policy: bool,
    max_length: int,
    vocab_size: int,
) -> ModelDescription:
    """The description of a model with this tokenizer and this complete card (`worker.texts.decoder.completed`)."""
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
        num_turn_tokens=num_turn_tokens(tokenizer),
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


def num_turn_tokens(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The least that the template adds for each turn more; None where it may leave out turns before the last.

    Control tokens alone are counted: they join with no text. A template that does not take a conversation refuses it.
    """
    if tokenizer.chat_template is None:
        return 0  # the turns are sent as one text
    turns = [Message(role=ROLES[number % 2], content=f"Turn {number} of tea") for number in range(NUM_TURNS)]
    system = Message(role="system", content="Be brief.")
    control = special_ids(tokenizer)
    try:
        prompts = [encode(tokenizer, turns[:length]) for length in range(1, NUM_TURNS + 1, 2)]
    except PromptError:
        return None
    if not _shows(tokenizer, prompts[-1], turns) or _drops(tokenizer, [system, *turns]):
        return None
    num_control = [sum(token_id in control for token_id in prompt) for prompt in prompts]
    return max(0, min(longer - shorter for shorter, longer in pairwise(num_control)) // 2)


def _drops(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message]) -> bool:
    """Whether the template leaves out a turn without a word; what it refuses is refused with a word."""
    try:
        return not _shows(tokenizer, encode(tokenizer, turns), turns)
    except PromptError:
        return False


def _shows(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], turns: Sequence[Message]) -> bool:
    text = str(tokenizer.decode(list(prompt), skip_special_tokens=False, clean_up_tokenization_spaces=False))
    return all(turn["content"] in text for turn in turns)


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
