"""Text to token ids: the guideline template and a model's own chat template. Knows tokenizers; knows no model and no method."""

from collections.abc import Sequence
from typing import Protocol, TypedDict

# The wording PAD's released models were trained on (Chen et al., ICLR 2025): a PersRM sees a preference as this text alone.
GUIDELINES = (
    "[Guidelines] Your task is to generate response by considering the following principle. "
    "[Principles] {principles} [Instruction] "
)


class Message(TypedDict):
    """One chat turn."""

    role: str
    content: str


class ChatTokenizer(Protocol):
    """What this module needs of a `transformers` tokenizer."""

    chat_template: str | None

    def apply_chat_template(
        self, conversation: Sequence[Message], *, tokenize: bool, add_generation_prompt: bool
    ) -> str: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


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


def encode(tokenizer: ChatTokenizer, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of the conversation, ready for the model's answer.

    A tokenizer without a chat template gets the turns as plain text, one blank line apart.
    """
    if tokenizer.chat_template is None:
        text = "\n\n".join(message["content"] for message in messages)
        return tuple(tokenizer.encode(text, add_special_tokens=True))
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tuple(tokenizer.encode(text, add_special_tokens=False))
