"""What a person reads of a calibration, and what the card keeps of it. Numbers in, text out."""

import math
from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from evaluation.calibration.choice import Choice, Trial
from evaluation.calibration.trying import Written

NUM_SHOWN = 3
SHOWN_CHARACTERS = 300
_CONDITIONS = (
    "{num_texts} texts a setting. Perplexities are beside that of asking alone in the best format ({asking}). "
    "Log-odds: how much likelier the model itself holds a text under the principle asked for than under others, nats."
)
_COLUMNS = (
    *("setting", "log-odds", "reward", "KL", "perplexity", "other model", "repetition"),
    *("leaks", "names it", "echoes", "words", "rule", ""),
)


def render(
    model: str,
    trials: Sequence[Trial],
    choice: Choice,
    texts: Mapping[str, Sequence[Written]],
    principles: Sequence[str],
) -> str:
    """The report as Markdown; `texts` are those of each setting, by its name."""
    return "\n".join(
        [
            f"# Calibration of {model}",
            "",
            f"Chosen: **{choice.trial.setting.name}**. {choice.reason}",
            "",
            _CONDITIONS.format(num_texts=choice.trial.num_texts, asking=choice.asking.setting.name),
            "",
            *_table(trials, choice),
            "",
            "![log-odds over KL](calibration.png)",
            "",
            *_shown(choice, texts, principles),
        ]
    )


def _table(trials: Sequence[Trial], choice: Choice) -> Iterator[str]:
    refused = dict(choice.refused)
    yield f"| {' | '.join(_COLUMNS)} |"
    yield f"|---|{'--:|' * (len(_COLUMNS) - 2)}---|"
    for trial in trials:
        cells = (
            trial.setting.name,
            f"{trial.log_odds:.2f} ± {trial.log_odds_error:.2f}",
            _number(trial.reward),
            _number(trial.kl),
            f"{math.exp(trial.surprise - choice.asking.surprise):.2f}x",
            _ratio(trial.surprise_elsewhere, choice.asking.surprise_elsewhere),
            f"{trial.repetition:.1%}",
            f"{trial.leaks:.0%}",
            f"{trial.naming:.0%}",
            f"{trial.echoes:.0%}",
            f"{trial.num_words:.0f}",
            "" if trial.satisfied is None else f"{trial.satisfied:.0%}",
            "chosen" if trial is choice.trial else refused.get(trial.setting.name, ""),
        )
        yield f"| {' | '.join(cells)} |"


def _shown(choice: Choice, texts: Mapping[str, Sequence[Written]], principles: Sequence[str]) -> Iterator[str]:
    """The same tasks under the chosen setting and without guidance, taken from over the whole list."""
    chosen, asking = texts[choice.trial.setting.name], texts[choice.asking.setting.name]
    step = max(1, len(chosen) // NUM_SHOWN)
    for guided, asked in list(zip(chosen, asking, strict=True))[step // 2 :: step][:NUM_SHOWN]:
        yield f"*{principles[guided.wish]}*"
        yield ""
        yield f"- asking alone: {_line(asked.text)}"
        yield f"- chosen: {_line(guided.text)}"
        yield ""


def chosen_body(trials: Sequence[Trial], choice: Choice, conditions: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What the card says of how its values were found."""
    return {
        "by": "padserve calibrate",
        **conditions,
        "reason": choice.reason,
        "trials": [
            {
                "setting": trial.setting.name,
                "log_odds": round(trial.log_odds, 3),
                "kl": None if trial.kl is None else round(trial.kl, 4),
                "perplexity_ratio": round(math.exp(trial.surprise - choice.asking.surprise), 3),
                "repetition": round(trial.repetition, 4),
                "leaks": round(trial.leaks, 4),
            }
            for trial in trials
        ],
    }


def _line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_CHARACTERS else f"{flat[:SHOWN_CHARACTERS]}..."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ratio(value: float | None, other: float | None) -> str:
    return "" if value is None or other is None else f"{math.exp(value - other):.2f}x"
