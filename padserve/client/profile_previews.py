"""One prompt for one user under several settings, with what guided each token: `client.profiles.preview`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import TypeAdapter

from padserve.client.answers import ItemError
from padserve.client.endpoints import Ask
from padserve.client.transport import Call

WAIT_SECONDS = 60

Variant = Mapping[str, object]
"""`method`, `strength` and `max_kl` of one text; what is missing is as the profile has it."""


@dataclass(frozen=True, slots=True)
class TokenCandidate:
    """One of the tokens among which a step decided; log-probabilities are over these alone."""

    token_id: int
    text: str
    base_log_probability: float
    reward: float
    guided_log_probability: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text, and what guided it. Numbers are in nats."""

    token_id: int
    text: str
    log_probability: float
    """Under the base, over the whole vocabulary."""
    reward: float
    strength: float
    """What this step used: less than the asked one where the budget cut it."""
    kl: float
    is_changed: bool
    """Whether guidance prefers another candidate than the base does."""
    candidates: tuple[TokenCandidate, ...]
    is_end: bool = False
    """Whether it is the end-of-sequence token, which adds nothing to the text."""


@dataclass(frozen=True, slots=True)
class TokenRewards:
    """What guided a text, token by token."""

    strength: float
    tokens: tuple[Token, ...]
    max_kl: float | None = None


@dataclass(frozen=True, slots=True)
class PreviewedText:
    """What one setting gave; `error` says why there is no text."""

    method: str | None = None
    strength: float | None = None
    max_kl: float | None = None
    text: str | None = None
    finish_reason: str | None = None
    reward: float | None = None
    kl: float | None = None
    token_rewards: TokenRewards | None = None
    error: ItemError | None = None


@dataclass(frozen=True, slots=True)
class ProfilePreview:
    """The texts of a prompt, one per setting. Nothing of it is kept."""

    model: str
    complete: bool
    user_id: str | None = None
    profile_version: int | None = None
    data: tuple[PreviewedText, ...] = field(default=())


_PREVIEW = TypeAdapter(ProfilePreview)


def ask(
    user_id: str,
    prompt: str,
    *,
    variants: Iterable[Variant] = (),
    token_rewards: bool = False,
    text: str | None = None,
    model: str | None = None,
    wait_seconds: int = WAIT_SECONDS,
    settings: Mapping[str, object] | None = None,
) -> Ask[ProfilePreview]:
    """The call that writes a preview. `settings` are those of an item, and go before the profile's."""
    tried: Sequence[dict[str, object]] = [dict(variant) for variant in variants]
    said = {"variants": tried or None, "text": text, "model": model, "token_rewards": token_rewards or None}
    body = {
        **(settings or {}),
        "prompt": prompt,
        "wait_seconds": wait_seconds,
        **{name: value for name, value in said.items() if value is not None},
    }
    path = f"/v1/profiles/{quote(user_id, safe='')}/preview"
    return Ask(Call("POST", path, json=body, repeats_safely=True), _PREVIEW.validate_json)
