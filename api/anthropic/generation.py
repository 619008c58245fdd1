"""The parameters of a message, with padserve's own options beside Anthropic's. Shapes only.

What they may say is what can be done. A parameter that is known and cannot be done is refused with a reason; one that
changes nothing here is passed over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from api.anthropic.blocks import as_text, as_turn
from api.http.errors import LineError
from api.jobs.sampling_schemas import Stop
from api.jobs.schemas import Metadata, Overrides, Turn, ends_with_the_user
from api.openai.generation import Endpoint, GenerationBody, MaxTokens, Refused, Rules, endpoint_defaults
from api.profiles.schemas import UserId, check_user_id
from api.submissions.item_source import Place
from domain.json_values import JsonObject

HARMLESS = frozenset({"cache_control", "service_tier", "diagnostics", "speed"})
"""Whatever they say, the answer is the same: they are about speed, price and records."""


def _without_nulls(value: object) -> object:
    return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


def _answerable(turns: list[Turn]) -> list[Turn]:
    if turns[-1].role == "assistant":
        message = "A turn of the assistant's that has begun cannot be continued here: the last message is the user's."
        raise PydanticCustomError("no_prefill", message)
    return ends_with_the_user(turns)


class MessageBody(GenerationBody):
    """Of `/v1/messages`, and of each request of a batch."""

    max_tokens: MaxTokens
    messages: Annotated[list[Annotated[Turn, BeforeValidator(as_turn)]], Field(min_length=1, fail_fast=True)]
    system: Annotated[str, BeforeValidator(as_text)] | None = None
    temperature: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False, description="1 if unsaid.")
    stop: Stop | None = Field(default=None, validation_alias=AliasChoices("stop_sequences", "stop"))
    metadata: Annotated[Metadata, BeforeValidator(_without_nulls)] | None = None
    user_profile_id: UserId | None = None

    _last_is_the_users = field_validator("messages")(_answerable)

    @property
    def user_id(self) -> str | None:
        """The user whose profile steers the text; None where nobody is named."""
        named = (self.metadata or {}).get("user_id")
        return self.user or (None if named is None else check_user_id(named)) or self.user_profile_id

    @property
    def turns(self) -> list[JsonObject]:
        """What is said first, then the conversation; turns of one speaker that follow each other are one."""
        said = [Turn(role="system", content=self.system)] if self.system else []
        together = groupby([*said, *self.messages], key=lambda turn: turn.role)
        return [{"role": role, "content": "\n".join(turn.content for turn in turns)} for role, turns in together]


_NO_TOOLS = Refused("Tools cannot be called here.", ([],))
_NO_STREAM = Refused("The answers of a batch are not streamed: they are in its results.", (False,))
_TEXT_ONLY = Refused("Only plain text is written here, and how much effort is made cannot be set.", ({},))
_NO_STATE = Refused("Nothing is kept between requests, and nothing is cut from a conversation.")

BATCHED = Rules(
    MessageBody,
    "/messages",
    {
        "stream": _NO_STREAM,
        "tools": _NO_TOOLS,
        "tool_choice": Refused(_NO_TOOLS.reason, ({"type": "none"}, {"type": "auto"})),
        "mcp_servers": _NO_TOOLS,
        "thinking": Refused("How much a model reasons cannot be set here.", ({"type": "disabled"},)),
        "output_config": _TEXT_ONLY,
        "output_format": _TEXT_ONLY,
        "container": _NO_STATE,
        "context_management": _NO_STATE,
        "inference_geo": Refused("Where this server runs is for whoever runs it to say.", ("global",)),
        "safety_identifier": Refused("Name the user as `metadata.user_id`."),
        "n": Refused("A message is one answer: ask once for each.", (1,)),
    },
    HARMLESS,
)
"""Which parameters a request of a batch may have, must not have, or has without effect."""
AT_ONCE = replace(BATCHED, refused={name: why for name, why in BATCHED.refused.items() if name != "stream"})
"""The same of a request that waits for its answer, which may also say `stream`."""


def message_defaults(max_length: int, **stated: Any) -> Overrides:  # noqa: ANN401 - fields of Overrides
    """What is unsaid: temperature 1 over the whole vocabulary, nothing penalised."""
    return endpoint_defaults(Endpoint.CHAT, max_length).model_copy(update=stated)


def user_errors(body: MessageBody, profiles: Mapping[str, object], place: Place) -> Iterator[LineError]:
    """That the parameters name no user with a profile, where only such are written for."""
    if body.user_id is None:
        yield place.error("user_required", "Name the user it is written for.", "/metadata/user_id")
    elif body.user_id not in profiles:
        yield place.error("unknown_user", "There is no profile for this user: store one first.", "/metadata/user_id")
