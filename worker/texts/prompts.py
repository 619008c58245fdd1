"""Text to token ids, by a model's own chat template. Knows tokenizers; no model, no method, no principle."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from domain.sampling import is_reserved_template_argument
from worker.texts.formats import Message

NO_ARGUMENTS: Mapping[str, Any] = {}
_TRIALS = (
    [Message(role="user", content="Hello")],
    [
        Message(role="user", content="Hello"),
        Message(role="assistant", content="Good morning"),
        Message(role="user", content="Thank you"),
    ],
)

PROBE = "\N{TEAPOT}"
"""Four bytes, to see whether a tokenizer puts bytes together."""


class PromptError(Exception):
    """The model's chat template does not accept the conversation."""


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], arguments: Mapping[str, Any] = NO_ARGUMENTS
) -> tuple[int, ...]:
    """Token ids of the conversation, ready for the model's answer; `arguments` are further ones of the template.

    A client's text stays text: where it spells one of the model's control tokens, it does not become that token. A
    tokenizer without a chat template gets the turns as plain text, one blank line apart. Raises `PromptError` where
    the template refuses the turns (a system turn, say) or the tokenizer cannot keep text from becoming control tokens.
    """
    if tokenizer.chat_template is None:
        return tuple(tokenizer.encode(joined(messages), split_special_tokens=True))
    reserved = [name for name in arguments if is_reserved_template_argument(name)]
    if reserved:
        raise PromptError(f"These arguments of the chat template are not the client's to set: {', '.join(reserved)}.")
    try:
        token_ids = tokenizer.apply_chat_template(
            turns_of(tokenizer, messages),
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=True,
            **arguments,
        )
    except Exception as error:  # a template is a program of somebody else: it may raise anything
        raise PromptError(f"The model's chat template does not accept this conversation: {error}") from error
    return tuple(cast("list[int]", token_ids))


def turns_of(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[dict[str, str]]:
    """The turns as the chat template takes them, what the model's own system turn says put in where it belongs."""
    turns = [{"role": message["role"], "content": message["content"]} for message in messages]
    if messages and messages[0].get("behind_default") and (default := default_system(tokenizer)):
        turns[0]["content"] = f"{default}\n\n{turns[0]['content']}"
    return turns


@lru_cache(maxsize=8)
def default_system(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template's system turn says where the conversation has none; empty where it says nothing."""
    asked = {"role": "user", "content": "Hello"}
    marker = "a system turn of the client's"
    try:
        without, with_one = (
            str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
            for turns in ([asked], [{"role": "system", "content": marker}, asked])
        )
    except Exception:  # noqa: BLE001 (as in `encode`): then there is no system turn to stand behind
        return ""
    before, _, behind = with_one.partition(marker)
    says_something = (
        without.startswith(before) and without.endswith(behind) and len(before) + len(behind) < len(without)
    )
    return without[len(before) : len(without) - len(behind)].strip() if says_something else ""


def joined(messages: Sequence[Message]) -> str:
    """The turns as plain text, for a model that knows no turns."""
    return "\n\n".join(message["content"] for message in messages)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The texts of the tokens that are left out when token ids become text."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *added]))


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids of the tokens that are left out when token ids become text."""
    return frozenset(cast("list[int]", tokenizer.convert_tokens_to_ids(special_tokens(tokenizer))))


@cache
def byte_ids(tokenizer: PreTrainedTokenizerBase) -> Mapping[int, int]:
    """The bytes that single tokens stand for, by token id, where a tokenizer spells what it does not know in bytes."""
    vocabulary = tokenizer.get_vocab()
    ids = {vocabulary[name]: byte for byte in range(256) if (name := f"<0x{byte:02X}>") in vocabulary}
    of_byte = {byte: token_id for token_id, byte in ids.items()}
    spelt = [of_byte[byte] for byte in PROBE.encode() if byte in of_byte]
    return ids if tokenizer.decode(spelt) == PROBE else {}  # else they are words like others


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


def trial_warnings(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What people should know of this model's prompts; raises `PromptError` where not even one turn is accepted."""
    if tokenizer.chat_template is None:
        marks = [token for token in special_tokens(tokenizer) if _marks_a_turn(token)]
        if not marks:
            return []
        shown = ", ".join(marks[:3])
        warning = (
            f"The tokenizer has control tokens of a chat model ({shown}) and no chat template: prompts are sent as "
            "plain text. If it is a chat model, put its chat_template.jinja beside its weights."
        )
        return [warning]
    one_turn, several = _TRIALS
    encode(tokenizer, one_turn)
    try:
        encode(tokenizer, several)
    except PromptError as error:
        return [f"Conversations of several turns, and with them examples, will fail: {error}"]
    return []


def _marks_a_turn(token: str) -> bool:
    marks = ("im_start", "start_header", "start_of_turn", "inst]", "<|user", "<|assistant")
    return any(mark in token.lower() for mark in marks)
