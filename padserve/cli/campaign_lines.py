"""What the command line says of campaigns and dry runs, in lines for a narrow terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from padserve.cli.display import duration

if TYPE_CHECKING:
    from padserve.client.answers import Audience, DryRun, Holdout

USERS_SHOWN = 5


def audience_lines(audience: "Audience | None", num_items: int) -> Iterator[str]:
    """Lines that name, by five users at most, who was skipped, excluded or unknown; none where nobody was.

    And of each attribute with a default, how many of those who have one of the `num_items` get the default.
    """
    if audience is None:
        return
    if audience.num_skipped:
        named = [f"{user.user_id} ({', '.join(user.missing)})" for user in audience.skipped[:USERS_SHOWN]]
        yield f"{audience.num_skipped} users are skipped, who lack an attribute{_listed(named, audience.num_skipped)}"
    for each in audience.defaulted:
        if each.num_users == num_items:
            yield f"Everybody gets the default of {each.attribute}: nobody has a value for it. Is it spelt so?"
        else:
            yield f"{each.num_users} of {num_items} users get the default of {each.attribute}."
    if audience.num_excluded:
        yield f"{audience.num_excluded} users are excluded."
    if audience.num_unknown_excluded:
        named = list(audience.unknown_excluded[:USERS_SHOWN])
        unknown = audience.num_unknown_excluded
        yield f"{unknown} users to exclude have no profile{_listed(named, unknown)}"


def dry_run_lines(told: "DryRun") -> Iterator[str]:
    """Lines that say how many items, tokens and seconds a submission would take, and what each estimate rests on."""
    yield f"{told.num_items} items for {told.model}; nothing was stored."
    yield from audience_lines(told.audience, told.num_items)
    if told.holdout is not None:
        yield holdout_line(told.holdout)
    yield f"Prompts: about {told.prompt_tokens} tokens."
    expected = told.expected_completion_tokens
    about = "" if expected is None else f", about {expected} expected"
    yield f"Texts: at most {told.max_completion_tokens} tokens{about}."
    yield f"  {told.expected_completion_tokens_basis}"
    if told.expected_seconds is not None:
        yield f"Time: about {duration(told.expected_seconds)}."
    yield f"  {told.expected_seconds_basis}"


def holdout_line(holdout: "Holdout") -> str:
    """A line that says how many users are held out, and by which seed."""
    return f"Held out: {holdout.num_holdout} of {holdout.num_holdout + holdout.num_guided}, by seed {holdout.seed}."


def _listed(named: list[str], number: int) -> str:
    if not named:
        return "."
    return f": {', '.join(named)}{', ...' if number > len(named) else ''}."
