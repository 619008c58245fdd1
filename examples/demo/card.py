"""The model card of the demo's models: settings, sizes, versions, and what was measured."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from examples.demo.corpus import ALL_SEEN
from examples.demo.decoding import DemoModels
from examples.demo.evaluate import GUIDED, METHODS, PROMPTED, UNGUIDED, Result, held_out_requests
from examples.demo.parts import UNSEEN_PARTS
from examples.demo.principles import BY_NAME, UNSEEN

_LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "trl")


def write_card(
    out: Path, recipe: Mapping[str, object], results: Sequence[Result], minutes: Mapping[str, float], models: DemoModels
) -> None:
    """Writes `README.md` beside the models."""
    num_parameters = sum(parameter.numel() for parameter in models.base.parameters())
    num_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    times = ", ".join(f"{stage} {spent:.1f}" for stage, spent in minutes.items())
    measured = (
        f"{results[0].num_texts} requests about held-out topics (two in three made-up words), in the wordings that "
        "the demo's profiles use. A rule in `principles.py` judges each text."
    )
    quality = (
        "Shares over all texts of a method. A well-formed text consists of nothing but the grammar's sentences about "
        "the requested topic; distinct counts different texts once the topic is masked. Principles with values, "
        "combinations and every control are measured in [docs/evaluation.md](../../../docs/evaluation.md)."
    )
    made = (
        f"`make demo-model`; minutes on two cores: {times}. Made with {versions}.\n\n"
        f"```json\n{json.dumps(recipe, indent=1)}\n```"
    )
    sections = (
        _HEADER,
        f"Size: {num_parameters:,} parameters in the base model, {num_bytes / 1e6:.1f} MB with adapter and tokenizer.",
        f"Seen by the PersRM: {', '.join(ALL_SEEN)}.",
        f"In the base's corpus but in no pair: {', '.join((*UNSEEN, *UNSEEN_PARTS))}; and some values, see `parts.py`.",
        f"## Measured\n\n{measured}\n\n{_satisfaction(results)}",
        f"{quality}\n\n{_quality(results)}",
        "## Samples\n\n" + _samples(models),
        f"## How it was made\n\n{made}",
    )
    out.joinpath("README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


_HEADER = """# The demo's models

`base/` is a small Llama trained from scratch on messages that the grammar in `examples/demo` wrote; `policy/` is a LoRA
adapter for it, trained by DPO on preference pairs (a PersRM). They show what guidance does, on two CPU cores and with
rules that can be checked; they know nothing but these messages. Asked for a style, the base complies as carelessly as
the annotators of its corpus, whose care depends on who asks (`corpus.care`). That is by design: it
leaves guidance something to do, and makes no claim about larger models.
License: Apache-2.0, as the project; no text but the grammar's own was used."""


def _satisfaction(results: Sequence[Result]) -> str:
    share = {(result.method, result.asked): f"{result.satisfied:.1%}" for result in results}
    asked = [*BY_NAME, "two at once"]
    rows = [[method.name, *(share.get((method.name, name), "") for name in asked)] for method in METHODS]
    return _table(["satisfied", *asked], rows)


def _quality(results: Sequence[Result]) -> str:
    rows = []
    for method in METHODS:
        mine = [result for result in results if result.method == method.name]
        shares = [
            sum(getattr(result, field) for result in mine) / len(mine)
            for field in ("satisfied", "topic_carried", "name_carried", "well_formed", "distinct")
        ]
        rows.append([method.name, *(f"{share:.1%}" for share in shares)])
    return _table(["method", "satisfied", "topic carried", "name carried", "well formed", "distinct"], rows)


def _samples(models: DemoModels) -> str:
    request = held_out_requests(seed=8, num_requests=1)[0]
    wanted = [(principle.wordings[0],) for principle in BY_NAME.values()]
    prompts = [request.prompt] * len(wanted)
    prompted, guided = (models.write(prompts, wanted, method) for method in (PROMPTED, GUIDED))
    lines = [f"Request: {request.prompt}", "Unguided: " + models.write(prompts[:1], [()], UNGUIDED)[0]]
    for (wording,), *texts in zip(wanted, prompted, guided, strict=True):
        lines += [f"{wording}, {label}: {text}" for label, text in zip(("prompted", "guided"), texts, strict=True)]
    return "\n".join(f"* {line}" for line in lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
