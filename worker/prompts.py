"""Text to token ids: the guideline template and a model's own chat template. Knows tokenizers; no model, no method."""

from collections.abc import Sequence
from typing import TypedDict, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

# The wording of PAD's released models (Chen et al., ICLR 2025): a PersRM sees a preference as this text alone.
GUIDELINES = (
    "[Guidelines] Your task is to generate response by considering the following principle. "
    "[Principles] {principles} [Instruction] "
)


class PromptError(Exception):
    """The model's chat template does not accept the conversation."""


class Message(TypedDict):
    """One chat turn."""

    role: str
    content: str


def with_principles(messages: Sequence[Message], principles: Sequence[str]) -> list[Message]:
    """The conversation with the principles written before its last user turn; unchanged where there are none.

    Several principles are joined by "and", as in PAD's own evaluation ("harmless and humor").
    """
    if not principles:
        return list(messages)
    last_user = max(index for index, message in enumerate(messages) if message["role"] == "user")
    guidelines = GUIDELINES.format(principles=" and ".join(principles))
    turn = Message(role="user", content=guidelines + messages[last_user]["content"])
    return [*messages[:last_user], turn, *messages[last_user + 1 :]]


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of the conversation, ready for the model's answer.

    A client's text stays text: where it spells one of the model's control tokens, it does not become that token. A
    tokenizer without a chat template gets the turns as plain text, one blank line apart. Raises `PromptError` where
    the template refuses the turns (a system turn, say) or the tokenizer cannot keep text from becoming control tokens.
    """
    if tokenizer.chat_template is None:
        text = "\n\n".join(message["content"] for message in messages)
        return tuple(tokenizer.encode(text, split_special_tokens=True))
    turns = [{"role": message["role"], "content": message["content"]} for message in messages]
    try:
        token_ids = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
        )
    except (TemplateError, NotImplementedError) as error:
        raise PromptError(f"The model's chat template does not accept this conversation: {error}") from error
    return tuple(cast("list[int]", token_ids))
