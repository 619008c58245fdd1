"""`python -m evaluation.calibration`, which `padserve calibrate` starts: tries settings, writes the model's card."""

import argparse
import datetime as dt
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import JsonValue

from domain.preferences import Method
from evaluation.calibration.choice import Choice, Trial, choose
from evaluation.calibration.material import Material
from evaluation.calibration.plot import plot
from evaluation.calibration.report import chosen_body, render
from evaluation.calibration.settings import Setting, grid
from evaluation.calibration.trying import Reader, Trying, Written
from evaluation.places import sentence_of
from evaluation.suite import MalformedSuiteError, read_suite
from evaluation.writing import NotWrittenError
from worker.engine import EngineError
from worker.model.card import CARD_NAME, Card, CardError, find_card
from worker.texts.formats import BUILT_IN, INSTRUCTION, PAD, SYSTEM, Format, Message, with_principles
from worker.texts.prompts import PromptError, shows_system

FAILED = 1
MAX_TOKENS = 48
LOG = logging.getLogger("padserve.evaluation")
_READABLE = (EngineError, MalformedSuiteError, NotWrittenError, CardError, OSError)


class UnusableFormatError(EngineError):
    """The model's chat template refuses every format that was to be tried: name another with --format."""


class NothingGivenError(EngineError):
    """{file} holds no line to try, or is not text in UTF-8: put one prompt, or one principle, on each line."""


class NoPlaceError(EngineError):
    """{folder!r} is no folder here that can be written to: say with --out where the card goes (PADSERVE_CARD)."""


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a calibration: measurements and texts of every setting by name, and the setting that was chosen."""

    trials: list[Trial]
    texts: dict[str, list[Written]]
    choice: Choice


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    LOG.setLevel(logging.INFO)
    try:
        out = _place(options.out, options.policy or options.base)
        material = _material(options)
        model = Reader.load(options.base, options.policy, device=options.device, dtype=options.dtype)
        other = Reader.load(options.language_model, device=options.device) if options.language_model else None
        settings = _settings(model, options)
        found = _search(Trying(model, material, options.max_tokens, other), settings)
        _write(out, options, material, found)
    except _READABLE as error:
        sys.stderr.write(f"{sentence_of(error)}\n")
        return FAILED
    setting = found.choice.trial.setting
    sys.stdout.write(f"{out / CARD_NAME}: {setting.name}. {found.choice.reason}\n")
    return 0


def _place(out: Path | None, model: str) -> Path:
    folder = out or Path(model)
    if out is None and not folder.is_dir():
        raise NoPlaceError(folder=str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # now, and not when all has been tried
            return folder
    except OSError as error:
        raise NoPlaceError(folder=str(folder)) from error


def _material(options: argparse.Namespace) -> Material:
    if options.suite is not None:
        return Material.of_suite(read_suite(options.suite))
    return Material.of(_lines(options.prompts), _lines(options.principles))


def _lines(file: Path | None) -> list[str]:
    """The distinct non-empty lines of a file, in order; none where no file was given."""
    if file is None:
        return []
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise NothingGivenError(file=file) from error
    if not any(lines):
        raise NothingGivenError(file=file)
    return list(dict.fromkeys(filter(None, lines)))


def _settings(model: Reader, options: argparse.Namespace) -> list[Setting]:
    """The grid over the formats that this model's template takes; a policy keeps the one that it was trained with."""
    wanted: Sequence[Format] = [BUILT_IN[name] for name in options.format or ()]
    if not wanted and options.policy:
        card = find_card(options.base, options.policy)
        wanted = (PAD if card is None else card.format,)
    formats = [form for form in wanted or (SYSTEM, INSTRUCTION) if _is_taken(model, form)]
    if not formats:
        raise UnusableFormatError
    methods = (Method.PAD, Method.CONTRAST) if options.policy else (Method.CONTRAST,)
    return list(grid(methods, formats))


def _is_taken(model: Reader, form: Format) -> bool:
    """What the worker would refuse on a card is not tried."""
    if form.role == "system" and not shows_system(model.tokenizer):
        LOG.info("%s is left out: the model's chat template shows no system turn", form.name)
        return False
    try:
        model.prompt(with_principles([Message(role="user", content="hi")], ["brief"], form))
    except PromptError as error:
        LOG.info("%s is left out: %s", form.name, error)
        return False
    return True


def _search(trying: Trying, settings: Sequence[Setting]) -> Found:
    trials: list[Trial] = []
    texts: dict[str, list[Written]] = {}
    for number, setting in enumerate(settings, start=1):
        start = time.monotonic()
        trial, written = trying.try_out(setting)
        trials.append(trial)
        texts[setting.name] = written
        seconds = time.monotonic() - start
        LOG.info("%d/%d %s: log-odds %.2f, %.0f s", number, len(settings), setting.name, trial.log_odds, seconds)
    return Found(trials, texts, choose(trials))


def _write(out: Path, options: argparse.Namespace, material: Material, found: Found) -> None:
    """The card last: whoever finds it finds the rest."""
    principles = [wish.principle for wish in material.wishes]
    conditions: dict[str, JsonValue] = {
        "on": dt.datetime.now(dt.UTC).date().isoformat(),
        "num_prompts": len(material.prompts),
        "principles": [*principles],
        "max_tokens": options.max_tokens,
        "versions": {name: version(name) for name in ("padserve", "torch", "transformers")},
    }
    setting = found.choice.trial.setting
    report = render(Path(options.base).name, found.trials, found.choice, found.texts, principles)
    (out / "calibration.md").write_text(report, encoding="utf-8")
    plot(out / "calibration.png", found.trials, found.choice)
    Card(
        format=setting.format,
        method=setting.method,
        strength=setting.strength or None,
        max_kl=setting.max_kl,
        chosen=chosen_body(found.trials, found.choice, conditions),
    ).write(out)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parsed = argparse.ArgumentParser(
        prog="padserve calibrate",
        description="Find format, strength and budget for a model, and write them on its card (padserve.json).",
    )
    parsed.add_argument("--base", required=True, help="the base model: a folder or a hub id")
    parsed.add_argument("--policy", help="its personalised reward model; the card then goes beside it")
    parsed.add_argument("--out", type=Path, help="folder for card, report and plot, instead of the model's own")
    parsed.add_argument("--format", action="append", choices=sorted(BUILT_IN), help="format to try (may be repeated)")
    parsed.add_argument("--suite", type=Path, help="prompts and principles with rules, as for `padserve eval`")
    parsed.add_argument("--prompts", type=Path, help="one prompt a line, instead of the built-in ones")
    parsed.add_argument("--principles", type=Path, help="one principle a line, instead of the built-in ones")
    parsed.add_argument("--language-model", help="another model, for perplexity: a folder or a hub id")
    parsed.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help=f"of a text ({MAX_TOKENS})")
    parsed.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parsed.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, float16")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
