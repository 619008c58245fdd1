"""What is tried: a method in a format at a strength within a budget. Pure values; decides the grid."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.preferences import EffectivePreference, Method, effective_preference
from domain.preferences import Principle as Stated
from worker.texts.formats import Format

STRENGTHS = (0.5, 1.0, 2.0)
"""Without a budget."""
BUDGETS = (0.05, 0.1, 0.2, 0.4)
"""Nats per token, at `MOST_STRENGTH`: there the budget decides, not the strength."""
MOST_STRENGTH = 4.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to steer."""

    method: Method
    format: Format
    strength: float = 0.0
    max_kl: float | None = None

    @property
    def name(self) -> str:
        """As the report calls it."""
        parts = [f"{self.method.value}, {self.format.name}"]
        if self.strength:
            parts.append(f"strength {self.strength:g}")
        if self.max_kl is not None:
            parts.append(f"max_kl {self.max_kl:g}")
        return ", ".join(parts)

    def preference(self, principle: str) -> EffectivePreference:
        """What steers an item of this principle."""
        return effective_preference(self.method, self.strength, [Stated(principle)], self.max_kl)


def grid(
    methods: Sequence[Method],
    formats: Sequence[Format],
    strengths: Sequence[float] = STRENGTHS,
    budgets: Sequence[float] = BUDGETS,
) -> Iterator[Setting]:
    """Asking alone in each format, then every guided setting."""
    for form in formats:
        yield Setting(Method.PROMPT, form)
    for method in methods:
        for form in formats:
            yield from (Setting(method, form, strength) for strength in strengths)
            yield from (Setting(method, form, MOST_STRENGTH, budget) for budget in budgets)
