"""`python -m evaluation`: evaluates a base and its policy on a suite. `padserve eval` runs this."""

import argparse
import logging
import sys
from pathlib import Path

from evaluation.places import PlaceError, check_place, sentence_of
from evaluation.plan import EvaluatedModels, Plan
from evaluation.suite import MalformedSuiteError, read_suite
from worker.persrm.pairs import MalformedPairsError, read_pairs

FAILED = 1


def main() -> int:
    """Run one evaluation; returns the exit code."""
    plan = read_plan(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("padserve.evaluation").setLevel(logging.INFO)
    try:
        read_suite(plan.suite)
        if plan.pairs:
            read_pairs(plan.pairs)
        check_place(plan.out)
    except (MalformedSuiteError, MalformedPairsError, PlaceError, OSError) as error:
        return _refuse(error)
    return _run(plan)


def _run(plan: Plan) -> int:
    # After command line, suite and pairs are known to be good: these libraries take seconds to load.
    from evaluation.evaluate import evaluate  # noqa: PLC0415
    from evaluation.judge import MissingLabelError  # noqa: PLC0415
    from evaluation.writing import NotWrittenError  # noqa: PLC0415
    from worker.engine import EngineError  # noqa: PLC0415

    try:
        evaluate(plan)
    except (MissingLabelError, NotWrittenError, EngineError, OSError) as error:
        return _refuse(error)
    sys.stdout.write(f"{plan.out}\n")
    return 0


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"{sentence_of(error)}\n")
    return FAILED


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parsed = argparse.ArgumentParser(prog="padserve eval", description="Measure what guidance does, with controls.")
    parsed.add_argument("--base", required=True, help="base model: a folder or a hub id")
    parsed.add_argument("--policy", required=True, help="personalised reward model: an adapter on the base, or a model")
    parsed.add_argument("--reference", help="the policy's reference, where it is not the base")
    parsed.add_argument("--suite", type=Path, required=True, help="JSON lines: prompts, principles and their rules")
    parsed.add_argument("--out", type=Path, default=Path("evaluation.md"), help="the report")
    parsed.add_argument("--pairs", type=Path, help="held-out preference pairs, for policy accuracy")
    parsed.add_argument("--judge", help="sequence classifier with a label for every principle")
    parsed.add_argument("--language-model", help="independent language model, for perplexity")
    parsed.add_argument(
        "--other-base", action="append", default=[], type=_named, metavar="NAME=MODEL", help="base to steer as well"
    )
    parsed.add_argument(
        "--tuned", action="append", default=[], type=_named, metavar="PRINCIPLE=ADAPTER", help="tuned for it alone"
    )
    parsed.add_argument("--seeds", type=int, default=Plan.num_seeds, help="draws of prompts and wordings")
    parsed.add_argument("--prompts", type=int, default=Plan.num_prompts, help="test prompts of a draw, at most")
    parsed.add_argument("--max-tokens", type=int, default=Plan.max_tokens, help="of a text")
    parsed.add_argument("--device", default=Plan.device, help="auto, cpu, cuda")
    return parsed


def read_plan(arguments: list[str]) -> Plan:
    """The command line as a plan."""
    options = parser().parse_args(arguments)
    return Plan(
        models=EvaluatedModels(options.base, options.policy, options.reference),
        suite=options.suite,
        out=options.out,
        pairs=options.pairs,
        judge=options.judge,
        language_model=options.language_model,
        other_bases=dict(options.other_base),
        tuned=dict(options.tuned),
        num_seeds=options.seeds,
        num_prompts=options.prompts,
        max_tokens=options.max_tokens,
        device=options.device,
    )


def _named(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


if __name__ == "__main__":
    sys.exit(main())
