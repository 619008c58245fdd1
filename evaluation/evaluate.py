"""The whole evaluation: choose on validation prompts, measure on test prompts, judge the claims, write the report."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from evaluation import controls, mixture, ranking, transfer
from evaluation.bootstrap import Estimate, difference
from evaluation.curves import sweep_candidates, sweep_strengths
from evaluation.measures import Judged, Measured, is_single_seen, summarise
from evaluation.methods import (
    CONTRAST,
    FEW_SHOT,
    GUIDED,
    GUIDED_UNPROMPTED,
    NO_PREFERENCE,
    POLICY_ALONE,
    PROMPTED,
    RANDOM_ADAPTER,
    UNGUIDED,
    WRONG,
    Arm,
)
from evaluation.plan import EvaluatedModels, Plan
from evaluation.report import write_report
from evaluation.results import Confusion, Example, Gain, Results
from evaluation.study import Study
from evaluation.suite import read_suite
from worker.persrm.pairs import read_pairs

EXAMPLE_METHODS = (UNGUIDED.name, PROMPTED.name, GUIDED.name)


def evaluate(plan: Plan) -> Results:
    """Runs the plan and writes its report; raises MalformedSuiteError or MalformedPairsError before anything runs."""
    start = time.monotonic()
    suite = read_suite(plan.suite)
    pairs = read_pairs(plan.pairs) if plan.pairs else []
    study = Study.open(plan, suite)

    strengths = sweep_strengths(study, GUIDED)
    strength = strengths.points[strengths.best].setting
    guided = GUIDED.at(strength=strength)
    candidates = sweep_candidates(study, guided)

    measured = compare(study, strength)
    combined = compare_combinations(study, guided)
    with TemporaryDirectory() as folder:
        random_measured, equal_kl = guide_at_random(study, guided, Path(folder))
        num_samples, best = choose_among_samples(study, measured)
        other_bases = measure_other_bases(study, guided, Path(folder))
    rows = [*measured.values(), random_measured, best]
    results = Results(
        strength=strength,
        num_test_prompts=len({row.task.prompt.prompt for row in measured[GUIDED.name].texts}),
        num_validation_prompts=len({task.prompt.prompt for task in study.validation_tasks()}),
        num_seeds=plan.num_seeds,
        num_scored=len(measured[GUIDED.name].scores),
        summaries=tuple(summarise(row, measured[UNGUIDED.name]) for row in rows),
        combinations=tuple(summarise(row, combined[UNGUIDED.name]) for row in combined.values()),
        gains=(*_gains(measured), *_gains(combined)),
        over_controls={row.name: _over(measured[GUIDED.name], row) for row in rows if row.name != GUIDED.name},
        strengths=strengths,
        candidates=candidates,
        confusion=_confusion(measured),
        sweeps=tuple(mixture.sweep_mixture(study, pair) for pair in suite.opposites),
        strength_zero=controls.at_strength_zero(study, guided),
        equal_kl=equal_kl,
        num_samples=num_samples,
        rankings=tuple(ranking.rank_pairs(study, pairs, guided)),
        other_bases=other_bases,
        tuned=transfer.measure_tuned(study, plan.tuned, guided) if plan.tuned else None,
        examples=_examples(measured),
        seconds=time.monotonic() - start,
    )
    write_report(plan, suite, results)
    return results


def compare(study: Study, strength: float) -> dict[str, Measured]:
    """Every method that needs no more than its streams; controls on fewer prompts. CONTRAST keeps its own strength."""
    tasks = study.test_tasks()
    measured = {method.name: study.run(method, tasks) for method in (UNGUIDED, PROMPTED, GUIDED.at(strength=strength))}
    tasks = study.control_tasks()
    steered = [method.at(strength=strength) for method in (GUIDED_UNPROMPTED, NO_PREFERENCE, WRONG)]
    others: Sequence[Arm] = (FEW_SHOT, *steered, POLICY_ALONE, CONTRAST)
    return measured | {method.name: study.run(method, tasks) for method in others}


def compare_combinations(study: Study, guided: Arm) -> dict[str, Measured]:
    """Unguided, prompted and guided, asked for several principles at once; nothing where the suite has none."""
    if not study.suite.combinations:
        return {}
    tasks = study.control_tasks(study.suite.combinations)
    return {method.name: study.run(method, tasks) for method in (UNGUIDED, PROMPTED, guided)}


def guide_at_random(study: Study, guided: Arm, folder: Path) -> tuple[Measured, controls.EqualKl]:
    """An adapter that learnt nothing, as strong as the policy in KL."""
    controls.random_adapter(study.models, folder / "random")
    lost = study.of(replace(study.models, policy=str(folder / "random")))
    equal_kl = controls.at_equal_kl(study, lost, guided)
    method = RANDOM_ADAPTER.at(strength=equal_kl.strength)
    return lost.run(method, study.control_tasks()), equal_kl


def choose_among_samples(study: Study, measured: Mapping[str, Measured]) -> tuple[int, Measured]:
    """Best of n at equal wall time."""
    num_samples = controls.samples_of_equal_time(measured[GUIDED.name], measured[PROMPTED.name])
    writing = controls.best_of_n(study, study.control_tasks(), num_samples)
    return num_samples, study.measure(writing)


def measure_other_bases(study: Study, guided: Arm, folder: Path) -> tuple[transfer.OtherBase, ...]:
    """The plan's other bases under the same PersRM, its own base being the reference."""
    if not study.plan.other_bases:
        return ()
    policy = controls.merged_policy(study.models, folder / "policy")
    reference = study.models.reference or study.models.base
    return tuple(
        transfer.measure_other_base(study, name, EvaluatedModels(path, policy, reference), guided)
        for name, path in study.plan.other_bases.items()
    )


def _gains(measured: Mapping[str, Measured]) -> list[Gain]:
    if not measured:
        return []
    gains = []
    for asked in dict.fromkeys(row.task.asked for row in measured[GUIDED.name].texts):
        guided, prompted, unguided = (
            measured[name].satisfied(lambda row, asked=asked: row.task.asked == asked)  # type: ignore[misc]
            for name in (GUIDED.name, PROMPTED.name, UNGUIDED.name)
        )
        gains.append(Gain(asked, difference(guided, prompted), difference(guided, unguided)))
    return gains


def _over(guided: Measured, control: Measured) -> Estimate:
    asked = {(row.task.seed, row.task.prompt.prompt) for row in control.texts}
    ours = guided.satisfied(lambda row: is_single_seen(row) and (row.task.seed, row.task.prompt.prompt) in asked)
    return difference(ours, control.satisfied(is_single_seen))


def _confusion(measured: Mapping[str, Measured]) -> Confusion:
    guided, unguided = measured[GUIDED.name].texts, measured[UNGUIDED.name].texts
    names = tuple(dict.fromkeys(row.task.asked for row in guided))

    with_values = {principle.name for row in guided for principle in row.task.principles if principle.values}

    def shares(rows: Sequence[Judged]) -> tuple[float, ...]:
        found = [row.kept if row.judged is None else row.judged | (row.kept & with_values) for row in rows]
        return tuple(sum(name in kept for kept in found) / len(found) for name in names)

    by_judge = "the independent judge, and the rules where there are values" if with_values else "the independent judge"
    return Confusion(
        names,
        by_judge if guided[0].judged is not None else "the rules",
        tuple(shares([row for row in guided if row.task.asked == name]) for name in names),
        shares(unguided),
    )


def _examples(measured: Mapping[str, Measured]) -> tuple[Example, ...]:
    """The first prompt of every principle. Not chosen for its outcome: it is the first."""
    examples: dict[str, Example] = {}
    for place, row in enumerate(measured[GUIDED.name].texts):
        if row.task.asked not in examples:
            texts = {name: measured[name].texts[place].text.text for name in EXAMPLE_METHODS}
            examples[row.task.asked] = Example(", ".join(row.task.wordings), row.task.prompt.prompt, texts)
    return tuple(examples.values())
