"""`make eval-real`: fetches models, writes and judges texts, reports in docs/real-models.md; resumes where it ended."""

import argparse
import logging
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from evaluation.real.findings import Findings
from evaluation.real.models import FOLDER, ModelNotFetchedError, real_model
from evaluation.real.report import write_report
from evaluation.real.results import ModelResults
from evaluation.real.study import ModelPlan, RealStudy, Size
from evaluation.real.suite import read_suite
from evaluation.real.writing import Notebook

NOTEBOOK = Path(".padserve/evaluation/real-texts.jsonl")
OUT = Path("docs/real-models.md")
MAX_TOKENS = 48
SIZES = {
    "smollm2": Size(num_prompts=10, num_control_prompts=2, num_validation_prompts=2, num_read_prompts=3),
    "qwen": Size(4, 1, num_validation_prompts=1, num_read_prompts=4, num_principles=8),
    "gemma": Size(2, 1, num_validation_prompts=1, num_read_prompts=2, num_principles=4, with_controls=False),
}
SMOKE = Size(3, 2, num_validation_prompts=1, num_read_prompts=2, num_principles=3)
JUDGED_BY = {"smollm2": "qwen", "qwen": "smollm2", "gemma": "smollm2"}


def main() -> None:
    """Command line: `python -m evaluation.real [--smollm2 FOLDER ...] [--persrm FOLDER] [--models NAME ...]`."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("padserve.evaluation").setLevel(logging.INFO)
    try:
        folders = {name: getattr(options, name) or real_model(name) for name in _needed(options.models)}
    except ModelNotFetchedError as error:
        sys.exit(str(error))
    start = time.monotonic()
    suite, notebook = read_suite(), Notebook(options.notebook)
    findings = Findings(options.notebook.with_name(f"{options.notebook.stem}-findings.jsonl"))
    studied: list[ModelResults] = []
    for name in options.models:
        size = replace(SMOKE, with_controls=SIZES[name].with_controls) if options.smoke else SIZES[name]
        persrm = options.persrm if name == "smollm2" else None
        plan = ModelPlan(name, folders[name], folders[JUDGED_BY[name]], size, persrm)
        studied.append(RealStudy(plan, suite, notebook, findings, options.max_tokens).run())
        write_report(options.out, suite, studied, options.max_tokens, _conditions(time.monotonic() - start))


def _conditions(seconds: float) -> str:
    packages = ("torch", "transformers", "peft", "spacy", "vaderSentiment", "textstat", "wordfreq")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"This run took {seconds / 60:.0f} minutes, in float32 on a CPU, with {versions}. Texts and numbers that an "
        "earlier run had left were reused."
    )


def _needed(models: list[str]) -> list[str]:
    return sorted({*models, *(JUDGED_BY[name] for name in models)})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluation.real", description="Evaluate guidance on real models.")
    parser.add_argument("--out", type=Path, default=OUT, help="the report")
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK, help="where texts are kept between runs")
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=list(SIZES), help="which to study")
    for name in SIZES:
        parser.add_argument(f"--{name}", type=Path, help=f"a folder of your own instead of {FOLDER / name}")
    parser.add_argument("--persrm", type=Path, help="a PersRM that was trained on smollm2, for `pad`")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="of each text")
    parser.add_argument("--smoke", action="store_true", help="three prompts, three principles: does it run?")
    return parser.parse_args()


if __name__ == "__main__":
    main()
