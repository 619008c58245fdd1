"""`make eval`: writes the suite, trains the models that are missing, measures everything, writes docs/evaluation.md."""

import argparse
import logging
import sys
from pathlib import Path

from evaluation.evaluate import evaluate
from evaluation.plan import EvaluatedModels, Plan
from examples.demo.principles import BY_NAME
from examples.demo.train import MODEL
from examples.evaluation.judge import Judge, train_judge
from examples.evaluation.language_model import LanguageModel, train_language_model
from examples.evaluation.other_bases import OTHER_BASES, train_other_base
from examples.evaluation.suite import write_demo_pairs, write_demo_suite
from examples.evaluation.trained import trained
from examples.evaluation.tuned import Tuned, train_tuned

FOLDER = Path(".padserve/evaluation")
OUT = Path("docs/evaluation.md")
BASE = MODEL / "base"


def main() -> None:
    """Command line: `python -m examples.evaluation [--out docs/evaluation.md] [--train-only | --suite-only]`."""
    parser = argparse.ArgumentParser(prog="python -m examples.evaluation", description="Evaluate the demo's models.")
    parser.add_argument("--out", type=Path, default=OUT, help="the report")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where trained models are kept for the next run")
    least = parser.add_mutually_exclusive_group()
    least.add_argument("--train-only", action="store_true", help="train what is missing, and measure nothing")
    least.add_argument("--suite-only", action="store_true", help="write the suite, and neither train nor measure")
    options = parser.parse_args()
    if options.suite_only:
        options.folder.mkdir(parents=True, exist_ok=True)
        write_demo_suite(options.folder / "suite.jsonl")
        return
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("padserve.evaluation").setLevel(logging.INFO)
    plan = make_plan(options.folder, options.out)
    if not options.train_only:
        evaluate(plan)


def make_plan(folder: Path, out: Path) -> Plan:
    """Trains what the folder lacks; everything else that the evaluation needs is written anew."""
    language_model = trained(BASE, folder / "language-model", LanguageModel(), train_language_model)
    judge = trained(BASE, folder / "judge", Judge(), train_judge)
    tuned = {name: trained(BASE, folder / f"tuned-{name}", Tuned(name), train_tuned) for name in BY_NAME}
    other_bases = {name: trained(BASE, folder / name, recipe, train_other_base) for name, recipe in OTHER_BASES.items()}
    suite, pairs = folder / "suite.jsonl", folder / "pairs.jsonl"
    write_demo_suite(suite)
    write_demo_pairs(pairs)
    return Plan(
        models=EvaluatedModels(str(BASE), str(MODEL / "policy")),
        suite=suite,
        out=out,
        pairs=pairs,
        judge=judge,
        language_model=language_model,
        other_bases=other_bases,
        tuned=tuned,
        command="make eval",
    )


if __name__ == "__main__":
    main()
