"""Everything that an evaluation found, as one value: the report, the plots and the JSON file are made from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluation.bootstrap import Estimate
from evaluation.claims import Claim, Reached
from evaluation.controls import EqualKl, StrengthZero
from evaluation.curves import Curve
from evaluation.measures import Summary
from evaluation.mixture import Sweep
from evaluation.ranking import Ranking
from evaluation.transfer import OtherBase, TunedAdapters


@dataclass(frozen=True)
class Confusion:
    """Texts guided by one principle (row) that keep another (column), and how many unguided texts do."""

    principles: tuple[str, ...]
    judged_by: str
    shares: tuple[tuple[float, ...], ...]
    unguided: tuple[float, ...]


@dataclass(frozen=True)
class Gain:
    """What guidance adds to one principle, or one combination."""

    asked: str
    over_prompted: Estimate
    over_unguided: Estimate


@dataclass(frozen=True)
class Example:
    """One text as each method wrote it."""

    asked: str
    prompt: str
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Results:
    """All measurements of one run."""

    strength: float
    num_test_prompts: int
    num_validation_prompts: int
    num_seeds: int
    num_scored: int
    summaries: tuple[Summary, ...]
    combinations: tuple[Summary, ...]
    gains: tuple[Gain, ...]
    over_controls: Mapping[str, Estimate]
    """By method: how much more often guided texts keep a seen principle, on the prompts that the method had."""
    strengths: Curve
    candidates: Curve
    confusion: Confusion
    sweeps: tuple[Sweep, ...]
    strength_zero: StrengthZero
    equal_kl: EqualKl
    num_samples: int
    rankings: tuple[Ranking, ...]
    other_bases: tuple[OtherBase, ...]
    tuned: TunedAdapters | None
    examples: tuple[Example, ...]
    seconds: float

    def summary(self, method: str) -> Summary:
        """The summary of the method of this name."""
        return next(summary for summary in self.summaries if summary.method == method)


def write_numbers(path: Path, results: Results, claims: tuple[Claim, ...], goals: tuple[Reached, ...]) -> None:
    """The raw numbers as JSON."""
    body = asdict(results) | {"claims": [asdict(claim) for claim in claims], "goals": [asdict(goal) for goal in goals]}
    path.write_text(json.dumps(_rounded(body), indent=1) + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    """Six digits are more than any of it is known to, and keep the file small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
