"""Preference pairs as TRL takes them: split, rendered, and held against what the engine will send."""

import random
from collections.abc import Iterable, Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from worker.persrm.errors import PairsTooLongError, PromptMismatchError, TooFewPairsError
from worker.persrm.pairs import PreferencePair
from worker.texts.formats import Format, Message, with_principles
from worker.texts.prompts import encode, joined, turns_of


def split(
    pairs: Sequence[PreferencePair], held_out_share: float, seed: int
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Pairs to train on and pairs to judge by, drawn at random: a file may be sorted."""
    if len(pairs) < 2:  # noqa: PLR2004 (one of each)
        raise TooFewPairsError(num_pairs=len(pairs))
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    num_held_out = min(max(1, round(len(pairs) * held_out_share)), len(pairs) - 1)
    return shuffled[num_held_out:], shuffled[:num_held_out]


def as_dataset(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Iterable[PreferencePair],
    format: Format,
) -> Dataset:
    """The pairs in TRL's format: conversations, or plain text where the tokenizer has no chat template."""
    conversational = tokenizer.chat_template is not None
    rows = []
    for pair in pairs:
        prompt = conversation(pair, format)
        rows.append(
            {
                "prompt": turns_of(tokenizer, prompt) if conversational else joined(prompt),
                "chosen": [Message(role="assistant", content=pair.chosen)] if conversational else pair.chosen,
                "rejected": [Message(role="assistant", content=pair.rejected)] if conversational else pair.rejected,
            }
        )
    return Dataset.from_list(rows)


def check_prompts(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Iterable[PreferencePair],
    prompt_ids: Iterable[Sequence[int]],
    format: Format,
) -> None:
    """Raise PromptMismatchError unless the trainer's prompts are the engine's, id by id."""
    for pair, ids in zip(pairs, prompt_ids, strict=True):
        if tuple(ids) != encode(tokenizer, conversation(pair, format)):
            raise PromptMismatchError(prompt=pair.prompt)


def check_lengths(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    max_length: int,
    format: Format,
) -> None:
    """Raise PairsTooLongError for the pairs that the trainer would cut off, silently, at `max_length` tokens."""
    too_long = []
    for number, pair in enumerate(pairs, start=1):
        longest = max(len(tokenizer(text)["input_ids"]) for text in (pair.chosen, pair.rejected))
        num_tokens = len(encode(tokenizer, conversation(pair, format))) + longest + 1  # the end of sequence
        if num_tokens > max_length:
            too_long.append(f"pair {number} ({num_tokens} tokens)")
    if too_long:
        raise PairsTooLongError(max_length=max_length, pairs=", ".join(too_long))


def conversation(pair: PreferencePair, format: Format) -> list[Message]:
    """The preference-conditioned prompt, as the engine sees it."""
    return with_principles([Message(role="user", content=pair.prompt)], pair.principles, format)
