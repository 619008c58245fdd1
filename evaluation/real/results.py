"""What was written and measured with one model: what verdicts and the report are made from."""

from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.real.judged import Judged, Scale, Summary


@dataclass(frozen=True)
class ModelResults:
    """What was written and measured with one model."""

    name: str
    validation: tuple[Summary, ...]
    prompted: str
    """The name of the best prompt-only arm."""
    best: str
    """The name of the arm that was chosen as the best method."""
    scale: Scale
    texts: Mapping[str, tuple[Judged, ...]]
    """By arm."""
    summaries: tuple[Summary, ...]
    num_samples: int | None = None
    notes: tuple[str, ...] = ()
