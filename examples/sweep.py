"""How far guidance goes, and what it costs: strengths and budgets on a running server, as a table and a plot.

    padserve profiles set ada -p playful
    python examples/sweep.py "Write a reminder about the tea garden." --user ada --max-kl 0.05 --max-kl 0.2

Reward is the mean over the texts of the summed token rewards: how much more likely the guide finds a text than the base
does. KL is the mean divergence from the base model per token. A strength beyond which KL grows and reward does not is
too much. The plot needs matplotlib; the table needs nothing but the client.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import fmean

from padserve import Client, PadserveError, Result

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
UNBOUNDED = 100.0
"""A budget that no step comes near, so that a profile's or a model's own is not used."""


@dataclass(frozen=True)
class Point:
    """What one strength and budget gave."""

    strength: float
    max_kl: float
    num_texts: int
    reward: float | None
    kl: float | None
    text: str

    @property
    def budget(self) -> str:
        """For people."""
        return "none" if self.max_kl == UNBOUNDED else f"{self.max_kl:g}"


def items(
    prompts: Sequence[str], users: Sequence[str], settings: Sequence[tuple[float, float]]
) -> Iterator[dict[str, object]]:
    """Every prompt for every user in every setting. The seed is the same: what differs is the setting."""
    for number, (strength, max_kl) in enumerate(settings):
        for place, (prompt, user) in enumerate(product(prompts, users)):
            yield {
                "custom_id": f"{number}/{place}",
                "user_id": user,
                "prompt": prompt,
                "strength": strength,
                "max_kl": max_kl,
                "seed": place,
            }


def points(results: Sequence[Result], settings: Sequence[tuple[float, float]]) -> list[Point]:
    """The means of each setting, over the texts that there are. Strength 0 is the base itself: nothing is given up."""
    found = []
    for number, (strength, max_kl) in enumerate(settings):
        done = [each for each in results if each.custom_id.startswith(f"{number}/") and each.text is not None]
        rewards = [each.reward for each in done if each.reward is not None]
        kls = [each.kl for each in done if each.kl is not None]
        reward, kl = (fmean(values) if values else None for values in (rewards, kls))
        found.append(Point(strength, max_kl, len(done), reward, kl, done[0].text or "" if done else ""))
    return found


def table(found: Sequence[Point]) -> str:
    """One line for each setting."""
    lines = [f"{'strength':>8} {'budget':>7} {'texts':>6} {'reward':>8} {'KL':>7}  first text"]
    for point in found:
        reward, kl = ("-" if value is None else f"{value:.3f}" for value in (point.reward, point.kl))
        start = " ".join(point.text.split())[:40]
        lines.append(f"{point.strength:>8g} {point.budget:>7} {point.num_texts:>6} {reward:>8} {kl:>7}  {start}")
    return "\n".join(lines)


def plot(found: Sequence[Point], path: Path) -> None:
    """Reward over KL, a line for each budget with its strengths beside it."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - the table does without

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for budget in dict.fromkeys(point.budget for point in found):
        line = [point for point in found if point.budget == budget and None not in {point.reward, point.kl}]
        axes.plot([point.kl or 0 for point in line], [point.reward or 0 for point in line], marker="o", label=budget)
        for point in line:
            axes.annotate(
                f"{point.strength:g}", (point.kl or 0, point.reward or 0), textcoords="offset points", xytext=(4, 4)
            )
    axes.set_xscale("log")
    axes.set(xlabel="KL from the base model, nats per token", ylabel="reward, nats per text")
    axes.legend(title="budget")
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep on the server that `Client()` finds; 0 where every text was written."""
    parser = argparse.ArgumentParser(description="Sweep strength and budget on a running server.")
    parser.add_argument("prompts", nargs="+", help="what to write; several give steadier means")
    parser.add_argument("--user", action="append", required=True, help="whose profile; may be repeated")
    parser.add_argument("--strength", action="append", type=float, help="may be repeated")
    parser.add_argument("--max-kl", action="append", type=float, help="a budget in nats per token; may be repeated")
    parser.add_argument("--method", help="pad, mixture or contrast; the profile's or the model's if unsaid")
    parser.add_argument("--model", help="where several are served")
    parser.add_argument("--max-tokens", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("sweep.png"), help="where the plot goes")
    given = parser.parse_args(arguments)
    budgets = [*(given.max_kl or ()), UNBOUNDED]
    tried = product(given.strength or STRENGTHS, budgets)
    settings = list(dict.fromkeys((strength, max_kl if strength else UNBOUNDED) for strength, max_kl in tried))
    defaults = {"max_tokens": given.max_tokens, **({"method": given.method} if given.method else {})}
    try:
        with Client() as client:
            job = client.submit(items(given.prompts, given.user, settings), model=given.model, defaults=defaults)
            counts = client.wait(job.id, progress=True).counts
            found = points(list(client.results(job.id)), settings)
    except PadserveError as error:
        print(f"Error: {error}", *getattr(error, "errors", ())[:5], sep="\n  ", file=sys.stderr)
        return 1
    print(table(found))
    if find_spec("matplotlib") is None:
        print("No plot: pip install matplotlib.", file=sys.stderr)
    else:
        plot(found, given.out)
        print(f"The plot is in {given.out}.", file=sys.stderr)
    return 0 if counts.succeeded == counts.total else 1


if __name__ == "__main__":
    sys.exit(main())
