"""`python -m bench.architectures [names]`: try them all, each in a process of its own, and keep what was found.

With all of them tried, `--page` writes docs/reference/architectures.md.
"""

import argparse
import json
import multiprocessing
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from transformers.utils import logging

from bench.architectures.page import read, write
from bench.architectures.tiny import ARCHITECTURES
from bench.architectures.trial import Found, Report, tried

PATIENCE_SECONDS = 600.0


def main() -> None:
    """Try what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.architectures", description=__doc__)
    parser.add_argument("names", nargs="*", default=ARCHITECTURES, help="architectures, all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path(".padserve/architectures.json"), help="what was found, by name"
    )
    parser.add_argument("--part", default="1/1", help="i/n: every n-th architecture, from the i-th on")
    parser.add_argument("--page", action="store_true", help="try nothing, and write the page of what was found")
    arguments = parser.parse_args()
    if arguments.page:
        write(read(arguments.out))
        return
    part, number = map(int, arguments.part.split("/"))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.names[part - 1 :: number]:
        report = _apart(name, arguments.seed)
        with arguments.out.open("a") as file:
            file.write(json.dumps(asdict(report)) + "\n")
        print(f"{name:26} {report.found:10} {report.seconds:6.1f} s  {report.said}", flush=True)


def _apart(name: str, seed: int) -> Report:
    """What a process of its own finds, or that it has died or has not ended in time."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_try, args=(theirs, name, seed))
    process.start()
    theirs.close()
    began = time.monotonic()
    try:
        if ours.poll(PATIENCE_SECONDS):
            report: Report = ours.recv()
            return report
        said = f"no end after {PATIENCE_SECONDS:.0f} s"
    except EOFError:
        said = "its process died"
    finally:
        process.kill()
        process.join()
    return Report(name, Found.ERROR, said, seconds=time.monotonic() - began)


def _try(connection: Connection, name: str, seed: int) -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    connection.send(tried(name, seed))


if __name__ == "__main__":
    main()
