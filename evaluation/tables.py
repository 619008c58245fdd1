"""The report's tables, in Markdown. Numbers in, text out."""

from collections.abc import Callable, Mapping, Sequence

from evaluation.bootstrap import Estimate
from evaluation.claims import Claim, Reached
from evaluation.curves import Curve
from evaluation.measures import Summary
from evaluation.mixture import Sweep
from evaluation.ranking import Ranking
from evaluation.transfer import OtherBase, TunedAdapters

NOTHING = ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in the first column, numbers to the right of it."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def share(estimate: Estimate | None) -> str:
    """A share in percent with its interval; a mark where there is none."""
    if estimate is None:
        return NOTHING
    return f"{100 * estimate.mean:.1f} ({100 * estimate.low:.0f}-{100 * estimate.high:.0f})"


def bare_share(estimate: Estimate | None) -> str:
    """A share in percent without its interval."""
    return NOTHING if estimate is None else f"{100 * estimate.mean:.1f}"


def number(estimate: Estimate | None, digits: int = 2) -> str:
    """A mean without its interval, with so many digits."""
    return NOTHING if estimate is None else f"{estimate.mean:.{digits}f}"


def points(estimate: Estimate) -> str:
    """A difference of shares in percentage points, with its interval."""
    return f"{100 * estimate.mean:+.1f} ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"


def claims_table(claims: Sequence[Claim]) -> str:
    """A row for each claim."""
    lines = ["| claim | verdict | measured |", "|---|---|---|"]
    return "\n".join(lines + [f"| {claim.text} | **{claim.verdict}** | {claim.because} |" for claim in claims])


def goals_table(goals: Sequence[Reached]) -> str:
    """A row for each goal."""
    lines = ["| goal | | measured |", "|---|---|---|"]
    return "\n".join(lines + [f"| {reached.text} | **{reached.goal}** | {reached.measured} |" for reached in goals])


def methods_table(summaries: Sequence[Summary], over: Mapping[str, Estimate]) -> str:
    """What each method does; `over` has how much more often guided texts keep a seen principle."""
    header = ("method", "texts", "seen", "guided minus this", "held out", "seen, judge", "held out, judge", "topic")
    columns: tuple[Callable[[Summary], str], ...] = (
        lambda summary: str(summary.num_texts),
        lambda summary: share(summary.seen),
        lambda summary: points(over[summary.method]) if summary.method in over else NOTHING,
        lambda summary: share(summary.unseen),
        lambda summary: share(summary.seen_for_judge),
        lambda summary: share(summary.unseen_for_judge),
        lambda summary: share(summary.topic),
    )
    return table(header, [[summary.method, *(column(summary) for column in columns)] for summary in summaries])


def price_table(summaries: Sequence[Summary]) -> str:
    """What each method costs, and how its texts read."""
    header = (
        *("method", "KL to base", "KL to unguided", "perplexity, base", "perplexity, independent", "ratio"),
        *("repeated", "distinct", "words", "ms a text", "tokens/s"),
    )
    rows = [
        [
            summary.method,
            number(summary.kl, 3),
            number(summary.kl_unguided, 3),
            number(summary.perplexity_base),
            number(summary.perplexity_independent),
            number(summary.perplexity_ratio),
            bare_share(summary.repetition),
            f"{100 * summary.distinct:.1f}",
            number(summary.words, 1),
            f"{1000 * summary.seconds_per_text:.1f}",
            f"{summary.tokens_per_second:.0f}",
        ]
        for summary in summaries
    ]
    return table(header, rows)


def principles_table(summaries: Sequence[Summary], unseen: Sequence[str]) -> str:
    """Satisfaction of each principle, a row each; the held-out ones are marked."""
    rows = [
        [f"{name} *" if name in unseen else name, *(share(summary.by_principle.get(name)) for summary in summaries)]
        for name in summaries[0].by_principle
    ]
    return table(("satisfied", *(summary.method for summary in summaries)), rows)


def combinations_table(summaries: Sequence[Summary]) -> str:
    """Satisfaction of each combination, a row each."""
    names = list(summaries[0].by_principle)
    rows = [[name, *(share(summary.by_principle[name]) for summary in summaries)] for name in names]
    rows.append(["all", *(share(summary.combinations) for summary in summaries)])
    rows.append(["topic kept", *(share(summary.topic) for summary in summaries)])
    return table(("all of it satisfied", *(summary.method for summary in summaries)), rows)


def curve_table(curve: Curve, setting: str) -> str:
    """A row for each setting; the chosen one is bold."""
    rows = []
    for place, point in enumerate(curve.points):
        name = f"{point.setting:g}"
        rows.append(
            [
                f"**{name}**" if place == curve.best else name,
                share(point.satisfied),
                share(point.unseen),
                share(point.topic),
                share(point.success),
                number(point.reward),
                number(point.kl, 3),
                number(point.words, 1),
            ]
        )
    header = (setting, "seen", "held out", "topic", "seen and on topic", "guide's reward", "KL", "words")
    return table(header, rows)


def sweep_table(sweep: Sweep) -> str:
    """A row for each share."""
    first, second = sweep.principles
    rows = [
        [f"{1 - part:.3g} / {part:.3g}", share(one), share(other), number(words, 1)]
        for part, one, other, words in zip(sweep.shares, sweep.first, sweep.second, sweep.words, strict=True)
    ]
    return table((f"weights {first} / {second}", first, second, "words"), rows)


def rankings_table(rankings: Sequence[Ranking]) -> str:
    """A row for each principle of the pairs."""
    rows = [
        [row.asked, str(row.num_pairs), share(row.by_reward), share(row.by_guided), share(row.by_base)]
        for row in rankings
    ]
    return table(("ranked correctly", "pairs", "by the reward", "by the guided model", "by the prompted base"), rows)


def other_bases_table(bases: Sequence[OtherBase]) -> str:
    """A row for each base."""
    rows = [
        [
            f"{base.name} ({base.architecture}, {base.num_parameters / 1e6:.1f} M)",
            share(base.unguided.seen),
            share(base.prompted.seen),
            share(base.guided.seen),
            points(base.over_prompted),
            share(base.guided.unseen),
            f"{bare_share(base.prompted.topic)} → {bare_share(base.guided.topic)}",
            number(base.guided.perplexity_ratio),
        ]
        for base in bases
    ]
    header = (
        *("base", "seen, unguided", "seen, prompted", "seen, guided", "guided over prompted"),
        *("held out, guided", "topic, prompted → guided", "perplexity ratio"),
    )
    return table(header, rows)


def tuned_table(tuned: TunedAdapters) -> str:
    """A row for each adapter."""
    rows = [
        [
            adapter.principle,
            share(adapter.tuned),
            share(adapter.guided),
            points(adapter.guided_over_tuned),
            f"{bare_share(adapter.tuned_topic)} / {bare_share(adapter.guided_topic)}",
            f"{adapter.num_bytes / 1e6:.2f}",
            NOTHING if adapter.training_seconds is None else f"{adapter.training_seconds:.0f}",
        ]
        for adapter in tuned.adapters
    ]
    header = (
        *("principle", "its own adapter", "one PersRM, guided", "guided over its own"),
        *("topic, own / guided", "MB", "training, s"),
    )
    return table(header, rows)


def side_by_side(texts: Mapping[str, str]) -> str:
    """One text a line."""
    return "\n".join(f"* {method}: {text}" for method, text in texts.items())
