"""docs/reference/architectures.md, written from what trials have found."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import transformers

from bench.architectures.tiny import ARCHITECTURES
from bench.architectures.trial import Found, Report
from worker.engine.errors import OTHER_ARCHITECTURE
from worker.engine.layers.lora import MERGE_IT

PAGE = Path(__file__).parents[2] / "docs/reference/architectures.md"
_HEAD = """# Architectures

Which causal language models of transformers {version} the engine decodes exactly. Made by
`python -m bench.architectures`: do not edit by hand.

The names are those of `model_type` in a checkpoint's `config.json`. Of each architecture a tiny model with random
weights is decoded in float32 on a CPU: prompts of 1 to 75 tokens and shared ones of 20 and 270, read in pieces of
several sizes; requests that join, leave and are cancelled while others are decoded; unguided, guided by a LoRA adapter
on the layers that are usually adapted and by one on attention and the stacks of experts, or on any of its linear layers
where it has no such stacks, and contrasted with themselves. Each token is held against whole texts, run uncached and
one by one in float64 by transformers and PEFT. *Exact* means: each is the most likely one, or as likely as that but for
rounding ({ties} of {tokens} tokens here). What is refused is refused when it is loaded, by the sentence beside it.

| | architectures |
|---|---|
{counts}
"""
_COPIED = """
An adapter that is refused may still be merged into its base, and the merged model given as policy. Where a row is
marked *copied*, a long prefix that requests share is read once and copied for each of them; elsewhere they read it
where it lies.

| model type | long shared prefixes | adapters |
|---|---|---|"""

_UNTRIED = """
## Not tried yet

These were in an [earlier sweep](../decisions/0020-recurrent-state.md) of fewer lengths and one adapter, and not in this
one. They are proved at load like all others, and decoded or refused.
"""


def read(path: Path) -> list[Report]:
    """The last report of each architecture, by name."""
    reports = {}
    for line in path.read_text().splitlines():
        stored = json.loads(line)
        reports[stored["architecture"]] = Report(**(stored | {"found": Found(stored["found"])}))
    return [reports[name] for name in sorted(reports)]


def write(reports: Iterable[Report], path: Path = PAGE) -> None:
    """The page of these reports."""
    path.write_text("\n".join(_lines(list(reports))) + "\n")


def _lines(reports: list[Report]) -> Iterator[str]:
    by_kind: Mapping[Found, list[Report]] = {
        found: [report for report in reports if report.found is found] for found in Found
    }
    yield _HEAD.format(
        version=transformers.__version__,
        ties=sum(report.num_ties for report in reports),
        tokens=f"{sum(report.num_tokens for report in reports):,}",
        counts="\n".join(f"| {found} | {len(by_kind[found])} |" for found in Found if by_kind[found]),
    ).rstrip("\n")
    yield "\n## Exact\n"
    yield _COPIED.strip("\n")
    for report in by_kind[Found.EXACT]:
        in_place = "copied" if report.in_place is False else ""
        yield f"| `{report.architecture}` | {in_place} | {_of_adapters(report)} |"
    yield from _by_sentence("Refused", by_kind[Found.REFUSED])
    yield from _by_sentence("Not built", by_kind[Found.UNBUILT])
    yield from _by_sentence("Wrong", by_kind[Found.WRONG])
    yield from _by_sentence("Failed", by_kind[Found.ERROR])
    untried = sorted({*ARCHITECTURES} - {report.architecture for report in reports})
    if untried:
        yield _UNTRIED
        yield ", ".join(f"`{name}`" for name in untried)


def _of_adapters(report: Report) -> str:
    if not report.adapters:
        return "none: no linear layer"
    names: dict[str, list[str]] = defaultdict(list)
    for name, sentence in report.adapters.items():
        names[_plain(sentence)].append(name)
    names.pop("", None)
    if not names:
        return "exact"
    refused = "; ".join(f"refused on {' and '.join(of_it)}: {said}" for said, of_it in names.items())
    return refused if all(report.adapters.values()) else f"exact, but {refused}"


def _by_sentence(title: str, reports: Iterable[Report]) -> Iterator[str]:
    """Those of which the same is said, together."""
    names: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        names[_plain(report.said)].append(f"`{report.architecture}`")
    if names:
        yield f"\n## {title}\n\n| model types | what is said |\n|---|---|"
    for said, of_it in sorted(names.items(), key=lambda entry: -len(entry[1])):
        yield f"| {', '.join(of_it)} | {said} |"


def _plain(said: str) -> str:
    """What is said, without what differs from model to model by chance."""
    for begin in ("'MODEL' cannot be decoded exactly here: ", "The adapter 'ADAPTER' cannot be stacked on 'MODEL': "):
        said = said.removeprefix(begin)
    said = re.sub(r"by [\d.]+%", "by far more than rounding", said.rstrip("."))
    for end in (MERGE_IT, OTHER_ARCHITECTURE):
        said = said.removesuffix(f": {end}")
    return said.replace("|", "/")
