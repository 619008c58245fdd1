"""`python -m worker.persrm`, which `padserve train` starts: preference pairs in, a policy that the worker loads out."""

import argparse
import sys
from pathlib import Path

from worker.persrm.errors import TrainingError
from worker.persrm.pairs import read_pairs
from worker.persrm.resume import check_out
from worker.texts.formats import Format, FormatError

FAILED = 1
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Train; the exit code."""
    options = vars(parser().parse_args(arguments))
    base, file, out = options.pop("base"), options.pop("pairs"), options.pop("out")
    may_replace = options.pop("replace")
    try:
        if not may_replace:
            check_out(out)
        pairs = read_pairs(file)
        # After the pairs are known to be good: these libraries take seconds to load.
        from worker.persrm.quiet import quieten  # noqa: PLC0415
        from worker.persrm.train import PolicySettings, train_policy  # noqa: PLC0415

        quieten()
        settings = PolicySettings(**{key: value for key, value in options.items() if value is not None})
        accuracy = train_policy(base, pairs, out, settings, base_name=base)
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    except OSError as error:
        sys.stderr.write(f"Cannot use {error.filename or 'a file'}: {error.strerror or error}.\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. The same command goes on from the last checkpoint.\n")
        return INTERRUPTED
    sys.stdout.write(
        f"{out}: {accuracy:.1%} of the held-out pairs are ranked correctly.\n"
        f"Serve it with PADSERVE_MODEL={base} PADSERVE_POLICY={out}.\n"
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parsed = argparse.ArgumentParser(
        prog="padserve train",
        description="Train a personalised reward model (PersRM). After a kill, the same command goes on.",
    )
    parsed.add_argument("--base", required=True, help="the base model: a folder or a Hub id")
    parsed.add_argument("--pairs", type=Path, required=True, help="JSON lines: prompt, principles, chosen, rejected")
    parsed.add_argument("--out", type=Path, required=True, help="folder for the policy and its card")
    parsed.add_argument(
        "--replace", action="store_true", help="write over a policy that --out holds; unsaid, it has to be empty"
    )
    parsed.add_argument(
        "--format",
        type=_format,
        help="how principles are shown: pad (the default), system, instruction or a card's path",
    )
    parsed.add_argument("--rank", type=int, help="LoRA rank (8)")
    parsed.add_argument("--beta", type=float, help="DPO's beta (0.1)")
    parsed.add_argument("--learning-rate", type=float, help="of the adapter (1e-3)")
    parsed.add_argument("--batch-size", type=int, help="pairs per step (32)")
    parsed.add_argument("--epochs", type=float, dest="num_epochs", help="over the pairs (1)")
    parsed.add_argument("--value-head-epochs", type=float, help="of stage 2, the value head; 0 leaves it out (0)")
    parsed.add_argument("--value-head-learning-rate", type=float, help="of stage 2 (1e-3)")
    parsed.add_argument("--held-out-share", type=float, help="of the pairs, to judge the result by (0.05)")
    parsed.add_argument("--max-length", type=int, help="tokens of prompt and answer; longer pairs are refused (1024)")
    parsed.add_argument("--checkpoint-every", type=int, help="steps (100)")
    parsed.add_argument("--seed", type=int, help="(12)")
    return parsed


def _format(name: str) -> Format:
    """A built-in format by name, or the one on the card at this path."""
    try:
        return Format.from_body(name)
    except FormatError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
