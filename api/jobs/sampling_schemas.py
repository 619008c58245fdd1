"""How tokens are chosen, as an item or a job's `defaults` may say it. Shapes only: no defaults, no precedence."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api.profiles.schemas import StrictModel, check_text
from domain.sampling import MAX_SEED, Sampling, is_reserved_template_argument

MAX_K = 1000
MAX_TOKENS = 4096
MAX_TEMPERATURE = 2.0
MAX_STOPS = 4
MAX_STOP_CHARACTERS = 256
MAX_CHOICES = 16
MAX_BIASES = 1024
MAX_BIAS = 100.0
MAX_TEMPLATE_ARGUMENTS = 16
MAX_TEMPLATE_TEXT = 1000


def _as_list(value: object) -> object:
    """The short form of one stop text is the text alone."""
    return [value] if isinstance(value, str) else value


def _check_name(name: str) -> str:
    if is_reserved_template_argument(name):
        message = "`{name}` is not the client's to set."
        raise PydanticCustomError("reserved_template_argument", message, {"name": name})
    return name


def _check_argument(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        if len(value) > MAX_TEMPLATE_TEXT:
            message = "At most {max_length} characters are allowed."
            raise PydanticCustomError("string_too_long", message, {"max_length": MAX_TEMPLATE_TEXT})
        check_text(value)
    elif isinstance(value, list | dict):
        raise PydanticCustomError("template_argument", "Must be a text, a number, true, false or null.")
    return value


TokenId = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,8})$")]
Bias = Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS, allow_inf_nan=False)]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Stop = Annotated[
    list[StopText],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_as_list, json_schema_input_type=StopText | list[StopText]),
]
TemplateName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"), AfterValidator(_check_name)]
# Checked one by one, so that an error is found at the place of its argument.
TemplateArguments = Annotated[
    dict[TemplateName, Annotated[JsonValue, AfterValidator(_check_argument)]],
    Field(max_length=MAX_TEMPLATE_ARGUMENTS),
]


class SamplingFields(StrictModel):
    """Each may be left out; `stated_sampling` gives what is stated."""

    @model_validator(mode="before")
    @classmethod
    def _one_name_for_k(cls, given: object) -> object:
        if not isinstance(given, dict) or not {"k", "top_k"} <= given.keys():
            return given
        if given["k"] is not None and given["top_k"] is not None:
            raise PydanticCustomError("k_twice", "`top_k` is another name of `k`: give one of them.")
        unsaid = "k" if given["k"] is None else "top_k"
        return {name: value for name, value in given.items() if name != unsaid}

    k: int | None = Field(
        default=None,
        ge=1,
        le=MAX_K,
        validation_alias=AliasChoices("k", "top_k"),
        description="The next token is one of the model's k most likely; also called `top_k`. If unsaid: 10 where "
        "something guides, the whole vocabulary where nothing does.",
    )
    temperature: float | None = Field(
        default=None, ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False, description="0, which is greedy, if unsaid."
    )
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False, description="1 if unsaid.")
    min_p: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="Drop tokens less likely than this share of the likeliest one's probability; 0 if unsaid.",
    )
    repetition_penalty: float | None = Field(
        default=None,
        gt=0,
        le=10,
        allow_inf_nan=False,
        description="Above 1: tokens of the prompt and of the answer so far become less likely. If unsaid, what the "
        "model's generation_config says, and else 1.",
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2, le=2, allow_inf_nan=False, description="Once off each token that the answer already has."
    )
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, allow_inf_nan=False, description="The same for each time that it has it."
    )
    logit_bias: dict[TokenId, Bias] | None = Field(
        default=None,
        max_length=MAX_BIASES,
        description='Added to the logits of these token ids: `{"123": -100}`.',
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="An item's own seed is used as it is. The seed in `defaults` (0 if unsaid) starts a sequence: the "
        "item at position p has that seed + p, so items differ and the same job again gives the same texts.",
    )
    n: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CHOICES,
        description="Answers to the item, 1 if unsaid. The i-th, counted from 0, has the item's seed + i; greedy "
        "answers are all the same text, which is decoded once.",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, le=MAX_TOKENS, description="128 if unsaid, or half of a small model."
    )
    min_tokens: int | None = Field(
        default=None, ge=0, le=MAX_TOKENS, description="The answer does not end before it has so many; 0 if unsaid."
    )
    stop: Stop | None = Field(default=None, description="A text, or up to 4, before which the answer ends.")
    rewards: bool | None = Field(default=None, description="Keep the reward of every token.")
    chat_template_kwargs: TemplateArguments | None = Field(
        default=None, description='Further arguments of the model\'s chat template, `{"enable_thinking": false}` say.'
    )


_AS_THEY_ARE = (
    *("k", "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"),
    *("seed", "n", "max_tokens", "min_tokens", "rewards"),
)


def stated_sampling(given: SamplingFields) -> dict[str, Any]:
    """The fields of `Sampling` that are stated, in its own form."""
    stated: dict[str, Any] = {name: value for name in _AS_THEY_ARE if (value := getattr(given, name)) is not None}
    if given.stop is not None:
        stated["stop"] = tuple(given.stop)
    if given.logit_bias is not None:
        stated["logit_bias"] = tuple(sorted((int(token_id), bias) for token_id, bias in given.logit_bias.items()))
    if given.chat_template_kwargs is not None:
        stated["template"] = dict(given.chat_template_kwargs)
    return stated


def sampling_problem(sampling: Sampling) -> str | None:
    """Why these settings, each right by itself, cannot hold together."""
    if sampling.min_tokens > sampling.max_tokens:
        return f"`min_tokens` is {sampling.min_tokens}, more than `max_tokens`, which is {sampling.max_tokens}."
    return None
