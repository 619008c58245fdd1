"""Content as Anthropic writes it, a text or blocks of text, made plain turns before they are checked. Text only."""

from pydantic_core import PydanticCustomError

ACCOMPANYING = frozenset({"cache_control", "citations"})
"""What a block of text may have beside it: one is about speed, and what is cited says nothing to the model."""
OTHER_BLOCKS = frozenset(
    {"image", "document", "container_upload", "search_result", "thinking", "redacted_thinking"}
) | {*("tool_use", "tool_result", "server_tool_use", "web_search_tool_result", "mcp_tool_use", "mcp_tool_result")}
"""Kinds of blocks that there are elsewhere; any other is not named back."""


def as_text(value: object) -> object:
    """Blocks of text become one text, each on a line of its own."""
    return "\n".join(map(_text_of, value)) if isinstance(value, list) else value


def as_turn(value: object) -> object:
    """A message whose content is one text."""
    if not isinstance(value, dict):
        return value
    return {name: as_text(each) if name == "content" else each for name, each in value.items()}


def _text_of(block: object) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    if isinstance(kind, str) and kind in OTHER_BLOCKS:
        message = "Blocks of the type `{kind}` cannot be read here: only those of the type `text`."
        raise PydanticCustomError("text_only", message, {"kind": kind})
    if not isinstance(block, dict) or kind != "text" or not isinstance(block.get("text"), str):
        raise PydanticCustomError("text_only", "Only blocks of the type `text` can be read, each with its `text`.")
    unknown = {name for name, each in block.items() if each is not None} - ACCOMPANYING - {"type", "text"}
    if unknown:
        message = "A block of text has `text`, and perhaps `cache_control` and `citations`; nothing else is known here."
        raise PydanticCustomError("extra_in_block", message)
    text: str = block["text"]
    return text
