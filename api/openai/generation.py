"""The bodies of OpenAI's generation endpoints, with padserve's own options beside theirs. Shapes only.

What a body may say is what can be done. A parameter that is known and cannot be done is refused with a reason; one that
changes nothing here is passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from api.jobs.sampling_schemas import MAX_TOKENS
from api.jobs.schemas import Metadata, Overrides, Prompt, Turn, ends_with_the_user
from api.openai.turns import as_conversation, as_one_prompt, as_turn
from api.profiles.schemas import UserId, check_user_id
from domain.json_values import JsonObject
from domain.sampling import MAX_SEED, WHOLE_VOCABULARY

LEAST_SEED = -(2**63)
COMPLETION_TOKENS = 16
"""`max_tokens` of `/v1/completions` where a request says none, as at OpenAI."""


class Endpoint(StrEnum):
    """The endpoints that lines of a batch, and requests at once, may name."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    RESPONSES = "/v1/responses"


def _as_seed(value: object) -> object:
    """A negative seed, which OpenAI allows, mapped to one of 0 to `MAX_SEED`; any other value as it is."""
    return value & MAX_SEED if type(value) is int and LEAST_SEED <= value < 0 else value


MaxTokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Turns = list[Annotated[Turn, BeforeValidator(as_turn)]]


class GenerationBody(Overrides):
    """The fields that the bodies of all three endpoints have in common."""

    model: str = Field(min_length=1, max_length=256)
    user: UserId | None = None
    safety_identifier: UserId | None = None
    metadata: Metadata | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), BeforeValidator(_as_seed)] | None = None

    @field_validator("metadata")
    @classmethod
    def _names_a_user(cls, metadata: Metadata | None) -> Metadata | None:
        if metadata is None or "user_id" not in metadata:
            return metadata
        return {**metadata, "user_id": check_user_id(metadata["user_id"])}

    @property
    def user_id(self) -> str | None:
        """The user whose profile steers the text; None where nobody is named."""
        return self.user or self.safety_identifier or (self.metadata or {}).get("user_id")

    @property
    def turns(self) -> list[JsonObject]:
        """The conversation to be answered."""
        raise NotImplementedError


class ChatBody(GenerationBody):
    """The body of `/v1/chat/completions`."""

    messages: Annotated[Turns, Field(min_length=1, fail_fast=True)]
    max_tokens: MaxTokens | None = Field(
        default=None, validation_alias=AliasChoices("max_completion_tokens", "max_tokens")
    )

    _answerable = field_validator("messages")(ends_with_the_user)

    @property
    def turns(self) -> list[JsonObject]:
        """The messages as they were given."""
        return [{"role": turn.role, "content": turn.content} for turn in self.messages]


class CompletionBody(GenerationBody):
    """Of `/v1/completions`: the prompt is what the user says."""

    prompt: Annotated[Prompt, BeforeValidator(as_one_prompt)]

    @property
    def turns(self) -> list[JsonObject]:
        """The prompt as one turn of the user."""
        return [{"role": "user", "content": self.prompt}]


class ResponseBody(GenerationBody):
    """The body of `/v1/responses`."""

    input: Annotated[Turns, Field(min_length=1, fail_fast=True), BeforeValidator(as_conversation)]
    instructions: str | None = None
    max_tokens: MaxTokens | None = Field(default=None, validation_alias=AliasChoices("max_output_tokens"))

    _answerable = field_validator("input")(ends_with_the_user)

    @property
    def turns(self) -> list[JsonObject]:
        """The input's turns behind the instructions, which are a system turn."""
        said: list[JsonObject] = [{"role": turn.role, "content": turn.content} for turn in self.input]
        return [{"role": "system", "content": self.instructions}, *said] if self.instructions else said


class Refused(NamedTuple):
    """A parameter that cannot be done: why, and with which values it asks for nothing that is not done anyway."""

    reason: str
    unless: tuple[object, ...] = ()


HARMLESS = frozenset({"store", "service_tier", "prediction", "parallel_tool_calls", "max_tool_calls"}) | frozenset(
    {"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}
)
"""Whatever they say, the answer is the same: they are about speed, price, records, or tools, and there are no tools."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of an endpoint's body before it meets its schema."""

    schema: type[GenerationBody]
    text_at: str
    """Where its text stands."""
    refused: Mapping[str, Refused]
    harmless: frozenset[str] = HARMLESS


_NO_STREAM = Refused("The answers of a batch are not streamed: they are in its output file.", (False,))
_NO_TOOLS = Refused("Tools cannot be called here.", ([],))
_NO_LOGPROBS = Refused("Log-probabilities are not kept.", (False,))
_NO_REASONING = Refused("How much a model reasons cannot be set here.", ("none", {}))
_TEXT_ONLY = Refused("Only plain text is written here; no format can be promised.", ({"type": "text"},))
_NO_STATE = Refused("Nothing is remembered between requests: send the whole conversation.")
_NO_ANSWER_SHAPE = Refused("How wordy an answer is cannot be set here: say it in the prompt.", ("medium",))
_ONE_ANSWER = Refused("A response is one answer; /v1/chat/completions gives several.", (1,))

_STREAMING = {"stream": _NO_STREAM, "stream_options": _NO_STREAM}
RULES: Mapping[Endpoint, Rules] = {
    Endpoint.CHAT: Rules(
        ChatBody,
        "/messages",
        {
            **_STREAMING,
            "tools": _NO_TOOLS,
            "functions": _NO_TOOLS,
            "tool_choice": Refused(_NO_TOOLS.reason, ("none", "auto")),
            "function_call": Refused(_NO_TOOLS.reason, ("none", "auto")),
            "web_search_options": _NO_TOOLS,
            "logprobs": _NO_LOGPROBS,
            "top_logprobs": Refused(_NO_LOGPROBS.reason, (0,)),
            "response_format": _TEXT_ONLY,
            "modalities": Refused(_TEXT_ONLY.reason, (["text"],)),
            "audio": _TEXT_ONLY,
            "reasoning_effort": _NO_REASONING,
            "verbosity": _NO_ANSWER_SHAPE,
        },
    ),
    Endpoint.COMPLETIONS: Rules(
        CompletionBody,
        "/prompt",
        {
            **_STREAMING,
            "logprobs": Refused(_NO_LOGPROBS.reason),
            "echo": Refused("The prompt is not repeated in the answer.", (False,)),
            "suffix": Refused("Text is written at the end only: nothing can be inserted.", ("",)),
            "best_of": Refused("Every answer is returned: ask for `n` of them.", (1,)),
        },
    ),
    Endpoint.RESPONSES: Rules(
        ResponseBody,
        "/input",
        {
            **_STREAMING,
            "background": Refused("A batch runs in the background as it is.", (False,)),
            "previous_response_id": _NO_STATE,
            "conversation": _NO_STATE,
            "prompt": Refused("No prompts are stored here: send the text as `input`."),
            "tools": _NO_TOOLS,
            "tool_choice": Refused(_NO_TOOLS.reason, ("none", "auto")),
            "include": Refused("There is nothing to include but the text.", ([],)),
            "reasoning": _NO_REASONING,
            "text": Refused(_TEXT_ONLY.reason, ({}, {"format": {"type": "text"}})),
            "truncation": Refused("Nothing is cut off: what is too long is refused.", ("disabled",)),
            "context_management": _NO_STATE,
            "top_logprobs": Refused(_NO_LOGPROBS.reason, (0,)),
            "n": _ONE_ANSWER,
        },
    ),
}


def _answered_at_once(rules: Rules) -> Rules:
    background = Refused("What is to run in the background is a batch: /v1/batches.", (False,))
    refused = {name: why for name, why in rules.refused.items() if name not in _STREAMING}
    return replace(rules, refused=refused | ({"background": background} if "background" in refused else {}))


RULES_AT_ONCE: Mapping[Endpoint, Rules] = {endpoint: _answered_at_once(rules) for endpoint, rules in RULES.items()}
"""Of a request that waits for its answer, where they say something else than in a batch."""


def endpoint_defaults(endpoint: Endpoint, max_length: int) -> Overrides:
    """What these parameters are at OpenAI if unsaid: temperature 1 over the whole vocabulary, nothing penalised.

    There an answer ends where the model's length does. Here it may be half of that, so that a prompt fits beside it.
    """
    half = min(MAX_TOKENS, max(1, max_length // 2))
    max_tokens = COMPLETION_TOKENS if endpoint is Endpoint.COMPLETIONS else half
    stated: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    return Overrides.model_construct(k=WHOLE_VOCABULARY, max_tokens=max_tokens, **stated)
