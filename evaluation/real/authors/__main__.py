"""`python -m evaluation.real.authors`: the section on examples, of models that were converted before.

    python -m evaluation.real.authors --model smollm2=FOLDER --model qwen=FOLDER:6 --texts FOLDER --out FILE

A number behind a folder's name is how many prompts that model writes for. What was written is kept in the folder
`--texts`: run again, it is not written again.
"""

import argparse
import sys
from pathlib import Path

from evaluation.real.authors.report import section
from evaluation.real.authors.study import ModelResults, measure
from evaluation.real.authors.texts import read_authors


def main() -> int:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, help="NAME=FOLDER, or NAME=FOLDER:NUM_PROMPTS")
    parser.add_argument("--texts", type=Path, required=True, help="folder that keeps what was written")
    parser.add_argument("--out", type=Path, required=True, help="the section, in Markdown")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    studied = [_measured(model, arguments.texts, arguments.device) for model in arguments.model]
    arguments.out.write_text(section(studied, read_authors()), encoding="utf-8")
    return 0


def _measured(model: str, texts: Path, device: str) -> ModelResults:
    name, _, place = model.partition("=")
    folder, _, num_prompts = place.partition(":")
    return measure(name, folder, texts, device=device, num_prompts=int(num_prompts) if num_prompts else None)


if __name__ == "__main__":
    sys.exit(main())
