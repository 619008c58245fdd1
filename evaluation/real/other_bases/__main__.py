"""The second half of `make eval-real`: other bases under one PersRM; adds its section to docs/real-models.md.

    python -m evaluation.real.other_bases --persrm examples/real/policy [--smollm2 FOLDER --qwen FOLDER --gemma FOLDER]

What was written is kept in the notebook: run again, it is not written again. With `--seconds`, texts are written for so
long, and nothing is reported; the exit status is 3 until all are there.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

from evaluation.real.__main__ import MAX_TOKENS, NOTEBOOK, OUT
from evaluation.real.findings import Findings
from evaluation.real.models import ModelNotFetchedError, real_model
from evaluation.real.other_bases.arms import RELEASED_STRENGTH
from evaluation.real.other_bases.report import head_of, put_section
from evaluation.real.other_bases.studio import Models
from evaluation.real.other_bases.study import OutOfTimeError, Plan, judge, write
from evaluation.real.suite import read_suite
from evaluation.real.writing import Notebook

TRAINED_ON = "smollm2"
READ_BY = {"qwen": "gemma", "gemma": "qwen"}
NUM_PROMPTS = 8
NOT_FINISHED = 3


def main() -> int:
    """Write, judge, report."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("padserve.evaluation").setLevel(logging.INFO)
    try:
        folders = {name: getattr(options, name) or real_model(name) for name in (TRAINED_ON, *READ_BY)}
    except ModelNotFetchedError as error:
        sys.exit(str(error))
    until = float("inf") if options.seconds is None else time.monotonic() + options.seconds
    suite, notebook = read_suite(), Notebook(options.notebook)
    plans = [
        Plan(
            name=name,
            models=Models(folders[name], options.persrm, folders[TRAINED_ON]),
            read_by=folders[READ_BY[name]],
            num_prompts=options.prompts,
            num_read_prompts=options.read,
            max_tokens=options.max_tokens,
            until=until,
        )
        for name in options.bases
    ]
    try:
        for plan in plans:
            write(plan, suite, notebook)
    except OutOfTimeError:
        return NOT_FINISHED
    if options.seconds is not None:
        return 0
    findings = Findings(options.notebook.with_name(f"{options.notebook.stem}-findings.jsonl"))
    studied = [judge(plan, suite, notebook, findings) for plan in plans]
    put_section(options.out, studied, head_of(studied, plans[0].arms[-1].format, RELEASED_STRENGTH))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persrm", type=Path, required=True, help="trained on smollm2")
    for name in (TRAINED_ON, *READ_BY):
        parser.add_argument(f"--{name}", type=Path, help="a folder of your own")
    parser.add_argument("--bases", nargs="+", choices=list(READ_BY), default=list(READ_BY), help="which to guide")
    parser.add_argument("--prompts", type=int, default=NUM_PROMPTS, help="of each principle")
    parser.add_argument("--read", type=int, default=2, help="prompts of each principle whose texts another model reads")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="of each text")
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK, help="where texts are kept between runs")
    parser.add_argument("--out", type=Path, default=OUT, help="the report that the section is added to")
    parser.add_argument("--seconds", type=float, help="write for so long, and report nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
