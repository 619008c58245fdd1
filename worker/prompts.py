"""Text to token ids, by a model's own chat template. Knows tokenizers; no model, no method, no principle."""

from collections.abc import Sequence
from typing import cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from worker.formats import Message


class PromptError(Exception):
    """The model's chat template does not accept the conversation."""


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of the conversation, ready for the model's answer.

    A client's text stays text: where it spells one of the model's control tokens, it does not become that token. A
    tokenizer without a chat template gets the turns as plain text, one blank line apart. Raises `PromptError` where
    the template refuses the turns (a system turn, say) or the tokenizer cannot keep text from becoming control tokens.
    """
    if tokenizer.chat_template is None:
        return tuple(tokenizer.encode(joined(messages), split_special_tokens=True))
    turns = [{"role": message["role"], "content": message["content"]} for message in messages]
    try:
        token_ids = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
        )
    except (TemplateError, NotImplementedError) as error:
        raise PromptError(f"The model's chat template does not accept this conversation: {error}") from error
    return tuple(cast("list[int]", token_ids))


def joined(messages: Sequence[Message]) -> str:
    """The turns as plain text, for a model that knows no turns."""
    return "\n\n".join(message["content"] for message in messages)


def shows_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a system turn reaches the model: some templates refuse it, and some leave it out without a word."""
    if tokenizer.chat_template is None:
        return False
    asked = Message(role="user", content="a")
    try:
        shown = encode(tokenizer, [Message(role="system", content="b"), asked])
        return shown != encode(tokenizer, [asked])
    except PromptError:
        return False
