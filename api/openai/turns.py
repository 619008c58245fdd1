"""Messages as OpenAI's endpoints write them, made plain turns before they are checked. Text only."""

from pydantic_core import PydanticCustomError

TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
ROLES = {"developer": "system"}
"""Their names for roles that have another one here."""
ECHOED = frozenset({"id", "status", "annotations"})
"""What an answer has that is given back as a turn, and what says nothing to the model."""


def as_turn(value: object) -> object:
    """Content in parts becomes one text; what is null or empty is as if unsaid."""
    if not isinstance(value, dict):
        return value
    kind = value.get("type", "message")
    if kind != "message":
        raise PydanticCustomError("text_only", "Only messages can be read here: `type` must be `message`.")
    turn = {
        name: each
        for name, each in value.items()
        if each is not None and each != [] and name not in ECHOED and name != "type"
    }
    if "name" in turn:
        raise PydanticCustomError("name", "`name` is not shown to the model: write it into the content.")
    if "tool_calls" in turn or "function_call" in turn:
        raise PydanticCustomError("text_only", "Calls of tools cannot be read here: messages are text.")
    role = turn.get("role")
    if isinstance(role, str):
        turn["role"] = ROLES.get(role, role)
    if isinstance(turn.get("content"), list):
        turn["content"] = _joined(turn["content"])
    return turn


def as_conversation(value: object) -> object:
    """A text alone is what the user says."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def as_one_prompt(value: object) -> object:
    """A list of one text is that text."""
    if not isinstance(value, list):
        return value
    if len(value) == 1 and isinstance(value[0], str):
        return value[0]
    raise PydanticCustomError("one_prompt", "Give one text; a line for each prompt, and no token ids.")


def _joined(parts: list[object]) -> str:
    """The texts of all parts, each on a line of its own."""
    texts = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") not in TEXT_PARTS or not isinstance(part.get("text"), str):
            raise PydanticCustomError("text_only", "Only parts of the type `text` can be read, each with its `text`.")
        texts.append(part["text"])
    return "\n".join(texts)
