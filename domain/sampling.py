"""How one item's tokens are chosen, apart from its preference. Pure values: no table, no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

MAX_SEED = 2**63 - 1
GUIDED_CANDIDATES = 10
"""k of a guided item that does not say it, as in PAD's released configurations."""
WHOLE_VOCABULARY = 0
"""As `k`: whatever the model's generation_config says, an unguided token is one of all. A guided one is one of
GUIDED_CANDIDATES, as if unsaid."""
MAX_TOKENS_SHOWN = 512
"""Most tokens of a text with token rewards: each brings its candidates along."""
# What `apply_chat_template` takes itself, and what a template is given by padserve or the tokenizer.
RESERVED_TEMPLATE_ARGUMENTS = frozenset(
    {
        *("conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt"),
        *("continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length"),
        *("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "self"),
        *("raise_exception", "strftime_now", "loop", "namespace", "range"),
    }
)


def is_reserved_template_argument(name: str) -> bool:
    """Whether a client may not pass this to a chat template: padserve or the tokenizer does."""
    return name in RESERVED_TEMPLATE_ARGUMENTS or name.startswith("_") or name.endswith(("_token", "_tokens"))


@dataclass(frozen=True, slots=True)
class Sampling:
    """The settings of one item, complete: what the API resolved is what the worker reads."""

    k: int | None = None
    """The next token is one of the base model's k most likely. None: 10 where something guides, and the whole
    vocabulary where nothing does."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float | None = None
    """None: what the model's generation_config says, else 1."""
    seed: int = 0
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    """A completion ends before the first of these texts."""
    rewards: bool = False
    """Keep the reward of every token, not only their sum."""
    min_p: float | None = None
    """None: what the model's generation_config says, else 0."""
    repetition_penalty: float | None = None
    """None: what the model's generation_config says, else 1."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    min_tokens: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()
    n: int = 1
    """Answers; the i-th has the seed `seed + i`."""
    template: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of the chat template."""
    listener: str | None = None
    """Who is to hear the texts while they grow; None is nobody."""
    token_rewards: bool = False
    """Keep what guided each token of the first answer."""
    given: str | None = None
    """Nothing is written: this text is read in an answer's place, for its token rewards."""

    @property
    def body(self) -> dict[str, object]:
        """The JSON object that is stored with the item."""
        body = {each.name: getattr(self, each.name) for each in fields(self)}
        lists = {"stop": list(self.stop), "logit_bias": [list(pair) for pair in self.logit_bias]}
        for name in ("listener", "token_rewards", "given"):
            if not body[name]:  # of nearly all items
                del body[name]
        return {**body, **lists, "template": dict(self.template)}

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> "Sampling":
        """The settings a stored body stands for; a field that an older body lacks has its default."""
        known = {each.name: body[each.name] for each in fields(cls) if each.name in body}
        stop, bias = known.pop("stop", ()), known.pop("logit_bias", ())
        if not isinstance(stop, list | tuple) or not isinstance(bias, list | tuple):
            message = "Stored sampling settings are not in their canonical form."
            raise TypeError(message)
        pairs = tuple((int(token_id), float(value)) for token_id, value in bias)
        return cls(stop=tuple(map(str, stop)), logit_bias=pairs, **known)  # type: ignore[arg-type]  # written by `body`
