"""What guided each token, on a terminal: `padserve try --tokens`."""

import math
from typing import TYPE_CHECKING

import typer

from padserve.cli.context import CommandContext
from padserve.cli.display import say, show_json, show_table, show_text
from padserve.cli.options import ItemOptions, as_flag
from padserve.errors import ApiError

if TYPE_CHECKING:
    from padserve.client.comparison import Comparison
    from padserve.client.profile_previews import PreviewedText, Token

NOT_ALL_THERE = 1
MOST_WAITED = 300
COLUMNS = ("token", "reward", "base", "guided", "strength", "instead of")


def show_tokens(given: CommandContext, asked: "Comparison", options: ItemOptions, timeout: int) -> None:
    """Each text, and a line per token: its reward, and its probability among the candidates unguided and guided."""
    names = ("method", "strength", "max_kl")
    variants = [
        {name: value for name, value in zip(names, one, strict=True) if value is not None} for one in asked.settings
    ]
    try:
        with given.client() as client:
            shown = client.profiles.preview(
                asked.user_id,
                asked.prompt,
                variants=variants,
                token_rewards=True,
                model=options.model,
                wait_seconds=min(timeout, MOST_WAITED),
                settings=options.defaults,
            )
    except ApiError as error:
        raise error.moved(as_flag) from None
    if options.as_json:
        show_json(given.answers, shown)
    else:
        for text in shown.data:
            _show(given, text)
    if not shown.complete:
        raise typer.Exit(NOT_ALL_THERE)


def _show(given: CommandContext, text: "PreviewedText") -> None:
    settings = [("", text.method), ("strength ", text.strength), ("max-kl ", text.max_kl)]
    said = [f"{name}{value}" for name, value in settings if value is not None]
    say(given.answers, f"{', '.join(said) or 'as the profile says'}:")
    show_text(given.answers, f"[{text.error.code}] {text.error.message}" if text.error else text.text or "")
    if text.token_rewards is not None and text.token_rewards.tokens:
        rows = [_row(token, text.token_rewards.strength) for token in text.token_rewards.tokens]
        show_table(given.answers, COLUMNS, rows)
    say(given.answers, "")


def _row(token: "Token", strength: float) -> tuple[str, ...]:
    """A token in quotes, so that a space can be seen."""
    own = next((each for each in token.candidates if each.token_id == token.token_id), None)
    likeliest = token.candidates[0]
    return (
        "(end)" if token.is_end else _quoted(token.text),
        f"{token.reward:+.2f}",
        "-" if own is None else f"{100 * math.exp(own.base_log_probability):.1f} %",
        "-" if own is None else f"{100 * math.exp(own.guided_log_probability):.1f} %",
        f"{token.strength:.2f}{' cut' if token.strength < strength else ''}",
        _quoted(likeliest.text) if token.is_changed and likeliest.token_id != token.token_id else "",
    )


def _quoted(text: str) -> str:
    return repr(text)
