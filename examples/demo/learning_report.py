"""docs/learning.md: what was simulated, and what came of it. Plain values in, a page out."""

from collections.abc import Sequence
from dataclasses import dataclass

NAMES = ("formal", "playful", "concise", "detailed")
NUM_PAIRS = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Scale:
    """How much is simulated."""

    num_prompts: int = 32
    texts_per_prompt: int = 6
    num_users: int = 60
    num_readers: int = 10
    """Users for whom texts are written, too."""
    num_test_prompts: int = 16
    pairs_for_readers: int = 50


@dataclass(frozen=True)
class Errors:
    """Mean distance of the fitted from the hidden weights, over users, by number of pairs."""

    user: str
    knowing_nothing: float
    by_num_pairs: tuple[float, ...]
    favourite_found: tuple[float, ...]
    """Share of users whose heaviest principle is the fitted weights' heaviest."""


@dataclass(frozen=True)
class Verdict:
    """How readers like what was written for them, against the default profile's texts."""

    label: str
    preferred: float
    """Share of texts; ties count half."""
    low: float
    high: float
    kept: float
    """Share of the principles kept, weighted as the reader weighs them."""


def page(errors: Sequence[Errors], verdicts: Sequence[Verdict], scale: Scale) -> str:
    """The whole page."""
    distances = [(each.user, f"{each.knowing_nothing:.2f}", [f"{x:.2f}" for x in each.by_num_pairs]) for each in errors]
    favourites = [(each.user, f"{1 / len(NAMES):.0%}", [f"{x:.0%}" for x in each.favourite_found]) for each in errors]
    judged = "\n".join(
        f"| {each.label} | {each.preferred:.0%} | {each.low:.0%} to {each.high:.0%} | {each.kept:.0%} |"
        for each in verdicts
    )
    return f"""# A profile learnt from feedback, in simulation

Written by `python -m examples.demo.learning` on the demo's models; nothing in it is typed by hand.

The principles are {", ".join(NAMES)}; hidden weights sum up to {len(NAMES)}, as the default profile's do.
{scale.num_users} users choose between texts about {scale.num_prompts} topics that no model was trained on,
{scale.texts_per_prompt} texts each. A user who goes by rewards is one that the fit describes exactly; a user who goes
by rules sees only whether a text keeps a principle, which a rule decides and no model. Both choose at random the more,
the nearer two texts are (Bradley-Terry).

Mean distance between fitted and hidden weights:

{_table("default", distances)}

Users whose favourite principle got the heaviest weight:

{_table("chance", favourites)}

{scale.num_readers} users who go by rules give {scale.pairs_for_readers} pairs each and read {scale.num_test_prompts}
new texts (`mixture`, greedy). Preferred to the text under the default weights, ties counting half, with 95 % of the
bootstrap over users; and the principles kept, weighted as the user weighs them:

| weights | preferred to default | 95 % | kept |
|---|---|---|---|
{judged}

The pairs here are drawn at random. The dashboard's teaching chooses them: it asks about the two texts whose comparison
is expected to tell most. For that it takes the weights as independent, each with the deviation of its last fit, since
how they go together is not stored; so it may ask about two texts that tell of a sum of weights which other answers have
already told of.
"""


def _table(before: str, rows: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    header = " | ".join(f"{num_pairs} pairs" for num_pairs in NUM_PAIRS)
    lines = [f"| user goes by | {before} | {header} |", "|---|---|" + "---|" * len(NUM_PAIRS)]
    lines += [f"| {user} | {first} | {' | '.join(others)} |" for user, first, others in rows]
    return "\n".join(lines)
