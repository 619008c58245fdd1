"""`padserve try`."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from padserve.cli import offers
from padserve.cli.context import CommandContext, context_of
from padserve.cli.display import job_progress, say, show_json, show_text
from padserve.cli.options import ItemOptions, as_flag, with_options
from padserve.cli.tokens import show_tokens
from padserve.errors import ApiError

if TYPE_CHECKING:
    from padserve.client.comparison import Comparison, Trial

NOT_ALL_SUCCEEDED = 1
INTERRUPTED = 130


@with_options
def try_(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to write.")],
    *,
    user: Annotated[str, typer.Option(help="For this user.", autocompletion=offers.users)],
    strength: Annotated[
        list[str] | None, typer.Option(metavar="NUMBERS", help="How strongly to guide, as in 0,0.5,1.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="As in none,prompt,contrast.", autocompletion=offers.methods),
    ] = None,
    max_kl: Annotated[
        list[str] | None, typer.Option(metavar="NUMBERS", help="How far guidance may go, as in 0.05,0.2.")
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Below each text, what guided each token.")] = False,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long to wait.")] = 60,
    options: ItemOptions,
) -> None:
    """Write one prompt for one user under several settings, and show the texts one below the other.

    Strengths, methods and budgets are combined; without any, the unguided text and the one that the profile gets are
    shown. It goes before your other jobs, and nothing of it is kept.
    """
    given = context_of(context)
    from padserve.client.comparison import Comparison

    strengths, max_kls = _numbers("--strength", strength), _numbers("--max-kl", max_kl)
    asked = Comparison(prompt, user, _parts(method), strengths, max_kls)
    if tokens:
        show_tokens(given, asked, options, round(timeout))
        return
    trials = _compared(given, asked, options, timeout)
    if options.as_json:
        show_json(given.answers, trials)
    else:
        _show(given, trials)
    if any(trial.result.error for trial in trials):
        raise typer.Exit(NOT_ALL_SUCCEEDED)


def _compared(given: CommandContext, asked: "Comparison", options: ItemOptions, timeout: float) -> "list[Trial]":
    """Wait for all texts. An interruption cancels what was asked for, and ends with exit code 130."""
    try:
        with given.client() as client, job_progress(given.notes, ended=False) as on_progress:
            return client.compare(
                asked.prompt,
                asked.user_id,
                methods=asked.methods,
                strengths=asked.strengths,
                max_kls=asked.max_kls,
                model=options.model,
                defaults=options.defaults,
                on_progress=on_progress,
                timeout_seconds=timeout,
            )
    except ApiError as error:
        raise error.moved(as_flag) from None
    except KeyboardInterrupt:
        say(given.notes, "Stopped: nothing of it is kept.")
        raise typer.Exit(INTERRUPTED) from None


def _show(given: CommandContext, trials: "Sequence[Trial]") -> None:
    """One below the other, each under its settings."""
    for trial in trials:
        say(given.answers, _heading(trial))
        show_text(given.answers, _text(trial))
        say(given.answers, "")


def _parts(texts: Sequence[str] | None) -> list[str]:
    return [part.strip() for text in texts or () for part in text.split(",") if part.strip()]


def _numbers(flag: str, texts: Sequence[str] | None) -> list[float]:
    return [_number(flag, part) for part in _parts(texts)]


def _number(flag: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter(f"{text!r} is not a number; write them as in 0,0.5,1.", param_hint=flag)
    return number


def _heading(trial: "Trial") -> str:
    """What was tried and what it cost, in less than 60 columns."""
    settings = [trial.method] if trial.method else []
    settings += [] if trial.strength is None else [f"strength {trial.strength:g}"]
    settings += [] if trial.max_kl is None else [f"max-kl {trial.max_kl:g}"]
    measured = [] if trial.result.reward is None else [f"reward {trial.result.reward:.1f}"]
    measured += [] if trial.result.kl is None else [f"KL {trial.result.kl:.3f}"]
    return " ".join([f"{', '.join(settings) or 'as the profile says'}:", ", ".join(measured)]).strip()


def _text(trial: "Trial") -> str:
    result = trial.result
    if result.error is not None:
        return f"[{result.error.code}] {result.error.message}"
    if result.choices:
        return "\n\n".join(choice.text for choice in result.choices)
    return result.text or ""
