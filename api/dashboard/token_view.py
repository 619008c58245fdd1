"""A text with its token rewards, as a page shows it: a shade for each token, and its candidates. Pure."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.dashboard.formats import signed
from api.profiles.preview_schemas import CandidateOut, TokenOut, TokenRewardsOut

BOUNDS = (0.05, 0.25, 0.5, 1.0, 2.0)
"""Nats from which a reward has the next shade: the same in every text, so that texts can be compared."""
SHADES = tuple(range(-len(BOUNDS), len(BOUNDS) + 1))
LINE_BREAK = "\u21b5"
SPACE = "\u2423"
END = "\u220e"


@dataclass(frozen=True, slots=True)
class Shown:
    """One token, as the page shows it."""

    text: str
    visible: str
    """The same where spaces and line breaks can be seen."""
    shade: int
    reward: float
    base: float | None
    """Its probability among the candidates; None where it was none of them."""
    guided: float | None
    strength: float
    kl: float
    is_changed: bool
    is_cut: bool
    instead_of: str
    """What the base alone would have taken, where guidance took this."""
    label: str
    """All of it in words."""
    details: str
    """The candidates as JSON, for the page's script."""


@dataclass(frozen=True, slots=True)
class TokenView:
    """A text and what guided it."""

    tokens: Sequence[Shown]
    num_changed: int
    num_cut: int
    reward: float
    mean_kl: float
    is_guided: bool


def token_view(found: TokenRewardsOut) -> TokenView:
    """The view of what the API answers for one text."""
    tokens = list(_shown(found))
    return TokenView(
        tokens,
        num_changed=sum(token.is_changed for token in tokens),
        num_cut=sum(token.is_cut for token in tokens),
        reward=math.fsum(token.reward for token in tokens),
        mean_kl=math.fsum(token.kl for token in tokens) / max(1, len(tokens)),
        is_guided=any(token.strength for token in found.tokens),
    )


def shade(reward: float) -> int:
    """The shade of a reward in nats, from -5 to 5: its sign and its size."""
    size = sum(abs(reward) >= bound for bound in BOUNDS)
    return size if reward > 0 else -size


def visible(text: str) -> str:
    """A token's text where spaces at its ends, line breaks and nothing at all can be seen."""
    if not text:
        return "\u2205"
    body = text.strip(" ")
    before = SPACE * (len(text) - len(text.lstrip(" ")))
    after = SPACE * (len(text) - len(text.rstrip(" "))) if body else ""
    return (before + body + after).replace("\n", LINE_BREAK)


def _shown(found: TokenRewardsOut) -> Iterator[Shown]:
    for token in found.tokens:
        own = next((each for each in token.candidates if each.token_id == token.token_id), None)
        likeliest = token.candidates[0]
        is_changed = token.is_changed and likeliest.token_id != token.token_id
        instead_of = visible(likeliest.text) if is_changed else ""
        shown = END if token.is_end else visible(token.text)
        is_cut = 0 < token.strength < found.strength * (1 - 1e-9)
        yield Shown(
            text=END if token.is_end else token.text,
            visible=shown,
            shade=shade(token.reward),
            reward=token.reward,
            base=None if own is None else math.exp(own.base_log_probability),
            guided=None if own is None else math.exp(own.guided_log_probability),
            strength=token.strength,
            kl=token.kl,
            is_changed=is_changed,
            is_cut=is_cut,
            instead_of=instead_of,
            label=_label(token, instead_of, is_cut=is_cut),
            details=_details(token),
        )


def _label(token: TokenOut, instead_of: str, *, is_cut: bool) -> str:
    parts = [f"{'end of the text' if token.is_end else visible(token.text)}, reward {signed(token.reward)}"]
    if instead_of:
        parts.append(f"instead of {instead_of}")
    if is_cut:
        parts.append(f"strength cut to {token.strength:.2f}")
    return ", ".join(parts)


def _details(token: TokenOut) -> str:
    """Each candidate as text, probability unguided, reward, probability guided, and whether it is the token."""
    rows = [_row(each, is_own=each.token_id == token.token_id) for each in token.candidates]
    told = {"kl": round(token.kl, 4), "strength": round(token.strength, 3), "rows": rows}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _row(candidate: CandidateOut, *, is_own: bool) -> list[object]:
    return [
        visible(candidate.text),
        round(100 * math.exp(candidate.base_log_probability), 1),
        round(candidate.reward, 3),
        round(100 * math.exp(candidate.guided_log_probability), 1),
        int(is_own),
    ]
