"""Writes the report: one Markdown page, its plots, its numbers. Decides nothing: verdicts come with the results."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from evaluation import plots, tables
from evaluation.claims import Claim, Reached
from evaluation.methods import (
    DEFAULT_STRENGTH,
    FEW_SHOT,
    GUIDED,
    POLICY_ALONE,
    PROMPTED,
    UNGUIDED,
)
from evaluation.plan import Plan
from evaluation.results import Results, write_numbers
from evaluation.suite import Suite
from evaluation.verdicts import judge_claims, judge_goals

NUMBERS = "numbers.json"
_LIBRARIES = ("torch", "transformers", "peft")


def write_report(plan: Plan, suite: Suite, results: Results) -> None:
    """The page at `plan.out`; plots and numbers in the folder of the same name."""
    folder = plan.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    claims, goals = judge_claims(suite, results), judge_goals(results)
    write_numbers(folder / NUMBERS, results, claims, goals)
    _plot(folder, results)
    sections = _sections(plan, suite, results, claims, goals)
    plan.out.write_text("\n\n".join(section.strip() for section in sections) + "\n", encoding="utf-8")


def _plot(folder: Path, results: Results) -> None:
    plots.plot_methods(folder / "methods.png", results.summaries)
    plots.plot_strengths(folder / "strength.png", results.strengths)
    plots.plot_price(folder / "price.png", results.strengths)
    plots.plot_candidates(folder / "candidates.png", results.candidates)
    plots.plot_confusion(folder / "confusion.png", results.confusion)
    for sweep in results.sweeps:
        plots.plot_sweep(folder / _sweep_file(sweep.principles), sweep)


def _sections(
    plan: Plan, suite: Suite, results: Results, claims: tuple[Claim, ...], goals: tuple[Reached, ...]
) -> Iterator[str]:
    folder = plan.out.with_suffix("").name
    unseen = suite.names(seen=False)
    yield "# Evaluation"
    yield suite.about
    yield _conditions(plan, results, folder)
    yield f"## Claims\n\n{tables.claims_table(claims)}\n\n{tables.goals_table(goals)}"
    yield f"## Methods and controls\n\n{_METHODS.format(strength=f'{results.strength:g}', equal_kl=_equal_kl(results))}"
    yield f"![satisfaction by method]({folder}/methods.png)"
    yield tables.methods_table(results.summaries, results.over_controls)
    yield _PRICE.format(num_scored=results.num_scored)
    yield tables.price_table(results.summaries)
    yield f"## Each principle\n\nHeld out of the PersRM's training: {', '.join(unseen) or 'none'} (*)."
    yield tables.principles_table([summary for summary in results.summaries if summary.method in _SHOWN], unseen)
    yield f"![guided by against judged as]({folder}/confusion.png)"
    if results.combinations:
        yield f"## Several principles at once\n\n{_COMBINATIONS}\n\n{tables.combinations_table(results.combinations)}"
    yield f"## Strength\n\n{_strength(results)}\n\n![shares over strength]({folder}/strength.png)"
    yield tables.curve_table(results.strengths, "strength")
    yield f"![shares over KL]({folder}/price.png)"
    yield f"## Candidates\n\n![shares over k]({folder}/candidates.png)"
    yield tables.curve_table(results.candidates, "k")
    for sweep in results.sweeps:
        yield f"## `mixture`: from {sweep.principles[0]} to {sweep.principles[1]}"
        shapes = f"{sweep.principles[0]}: {sweep.first_shape}. {sweep.principles[1]}: {sweep.second_shape}."
        yield f"The base reads neither principle; strength {DEFAULT_STRENGTH:g}. {shapes}"
        yield f"![shares over weights]({folder}/{_sweep_file(sweep.principles)})"
        yield tables.sweep_table(sweep)
    if results.rankings:
        yield f"## Policy accuracy\n\n{_RANKINGS}\n\n{tables.rankings_table(results.rankings)}"
    if results.other_bases:
        yield f"## Other base models\n\n{_OTHER_BASES}\n\n{tables.other_bases_table(results.other_bases)}"
    if results.tuned:
        yield f"## An adapter for each preference\n\n{_tuned(results)}\n\n{tables.tuned_table(results.tuned)}"
    yield f"## Texts\n\nThe first test prompt of each principle, not chosen for its outcome.\n\n{_texts(results)}"


_SHOWN = (UNGUIDED.name, PROMPTED.name, FEW_SHOT.name, GUIDED.name, POLICY_ALONE.name)

_METHODS = """Shares of texts that do what was asked, in percent, with 95 % bootstrap intervals. Rules judge, and beside
them the independent judge, which reads a text alone and so has no say where a principle has values (which word was to
be mentioned, say). "seen" pools the principles that the PersRM was trained on. Strength {strength}.

* *few-shot*: earlier turns of the conversation ask for the same and get an example that keeps it.
* *guided*: PAD; base and policy read the principles. *base not prompted*: only the policy reads them (`mixture`).
* *no preference text*: neither reads any. *wrong preference*: both read another principle than the one that is judged.
* *policy alone*: the policy's own greedy text, without the base's candidates.
* *contrast*: base with the principles against base without, strength 1; needs no PersRM.
* *random adapter*: an untrained adapter of the policy's shape{equal_kl}.
* *best of n*: samples of the prompted base at temperature 1, reranked by the policy's log-ratio; n is what fits into
  the time that guiding takes, rounded up."""

_PRICE = """What that costs. KL and perplexities are means over the tokens of {num_scored} texts a method: those of the
first prompts of the first seed. *KL to base*: from the method to the base with the same prompt, over the method's
candidates; *KL to unguided*: to the base that was told of no preference. *perplexity, base*: of the texts under that
base. *ratio*: of the perplexity under the independent language model, which reads the text alone, to that of the
unguided texts. *repeated*: runs of three words that the text has had before, percent; *distinct*: different pairs of
words among the texts of one principle, percent. Times are of this run, prompts included; texts that a method writes
alike for several principles are written once."""

_COMBINATIONS = """The PersRM saw none of these together; a text must keep all of it."""

_RANKINGS = """Shares of held-out pairs whose chosen answer scores higher, in percent. A reward model can rank well and
still guide badly, so ranking is reported beside what guidance does and never in its place."""

_OTHER_BASES = """The same policy, with the base that it was trained on as its reference, guides base models of the
same vocabulary that it was not trained with: base 1, policy +w, reference -w, at the strength chosen for the policy's
own base. One seed."""


def _conditions(plan: Plan, results: Results, folder: str) -> str:
    made_with = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    draws = (
        f"{results.num_seeds} seeds, each of which draws up to {plan.num_prompts} prompts for unguided, prompt only "
        f"and guided, and {plan.num_control_prompts} of these for controls and combinations; {plan.num_side_prompts} "
        "of the first seed's for the weights of `mixture`, other bases and tuned adapters"
    )
    return f"""Made by `{plan.command}` in {results.seconds / 60:.0f} minutes, with {made_with}, in float32. Numbers:
[{folder}/{NUMBERS}]({folder}/{NUMBERS}).

{results.num_test_prompts} test prompts: {draws}.
Decoding is greedy: a seed varies which prompts are drawn, how the principles are worded and which values they have, not
how one request is answered. Intervals are 95 % bootstrap intervals over prompts. Settings were chosen on
{results.num_validation_prompts} validation prompts."""


def _equal_kl(results: Results) -> str:
    equal = results.equal_kl
    return f""", at strength {equal.strength:.3g}, where its KL
  is {equal.kl:.3f} nats a token and the policy's {equal.kl_guided:.3f}"""


def _strength(results: Results) -> str:
    points, curve = results.strengths.points, results.strengths
    chosen = f"Chosen: {points[curve.best].setting:g}, by the share of texts that are satisfied and on topic."
    marks = []
    for place, what in ((curve.falls, "the rule metric"), (curve.success_falls, "satisfied and on topic")):
        if place is None:
            marks.append(f"Nowhere on the grid does {what} fall beyond chance while the guide's own reward rises.")
        else:
            marks.append(
                f"From {points[place].setting:g} on, {what} is below its best beyond chance, while the guide's own "
                "reward is higher: more guidance is too much."
            )
    return "\n".join(("On validation prompts.", chosen, *marks))


def _tuned(results: Results) -> str:
    tuned = results.tuned
    if tuned is None:
        return ""
    total = sum(adapter.num_bytes for adapter in tuned.adapters)
    return (
        "An adapter tuned on one principle's pairs alone, decoding greedily by itself, beside the one PersRM. "
        f"Guided over tuned, all principles pooled: {tables.points(tuned.guided_over_tuned)} points. "
        f"{len(tuned.adapters)} adapters are {total / 1e6:.1f} MB, and one more for each further preference; "
        f"the PersRM is {tuned.policy_bytes / 1e6:.1f} MB for all."
    )


def _texts(results: Results) -> str:
    return "\n\n".join(
        f"**{example.asked}** - {example.prompt}\n\n{tables.side_by_side(example.texts)}"
        for example in results.examples
    )


def _sweep_file(principles: tuple[str, str]) -> str:
    return f"mixture-{'-'.join(principles)}.png".replace(" ", "_")
