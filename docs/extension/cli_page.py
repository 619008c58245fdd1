"""docs/reference/cli.md: every command with its arguments and options, read out of typer and argparse."""

import argparse
from collections.abc import Iterator

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_group

from db.__main__ import parser as database_parser
from docs.extension.markdown import WRITTEN, code, table
from evaluation.__main__ import parser as evaluation_parser
from evaluation.calibration.__main__ import parser as calibration_parser
from padserve.cli.app import app
from worker.persrm.__main__ import parser as training_parser

Command = TyperCommand | TyperGroup
HANDED_ON = {
    "padserve train": training_parser,
    "padserve eval": evaluation_parser,
    "padserve calibrate": calibration_parser,
}
"""Commands that hand their command line on to a program of their own."""


def render() -> str:
    """The page."""
    lines = [WRITTEN, "", "# Command line", "", "`padserve --install-completion` has the shell offer all of this.", ""]
    for name, command in commands():
        lines += [f"## {name}", "", _paragraphs(command.help or ""), ""]
        make_parser = HANDED_ON.get(name)
        lines += [*(_options(command) if make_parser is None else _arguments(make_parser()))]
    top = database_parser()
    lines += ["## python -m db", "", top.description or "", ""]
    for name, parser in _subparsers(top):
        lines += [f"### python -m db {name}", "", *_arguments(parser)]
    return "\n".join(lines).rstrip() + "\n"


def commands() -> Iterator[tuple[str, Command]]:
    """Every command by its whole name, groups before what is in them."""
    yield from _walk("padserve", get_group(app))


def _walk(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from _walk(f"{name} {part}", inner)


def _options(command: Command) -> Iterator[str]:
    rows = []
    for parameter in command.params:
        if isinstance(parameter, TyperArgument):
            rows.append(
                (
                    code((parameter.metavar or parameter.name or "").upper()),
                    _default(parameter.default),
                    parameter.help or "",
                )
            )
        elif isinstance(parameter, TyperOption):
            *names, last = (*parameter.opts, *parameter.secondary_opts)
            flags = ", ".join(map(code, (*names, f"{last} {parameter.metavar}" if parameter.metavar else last)))
            rows.append((flags, _default(parameter.default), parameter.help or ""))
    yield from table(("argument or option", "default", "meaning"), rows)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    rows = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list them
        if isinstance(action, argparse._HelpAction):  # noqa: SLF001 - as above
            continue
        flags = ", ".join(code(flag) for flag in action.option_strings) or code(action.dest)
        choices = (
            "" if action.choices is None else " One of " + ", ".join(code(value) for value in action.choices) + "."
        )
        needed = " Required." if action.required and action.option_strings else ""
        rows.append((flags, _default(action.default), f"{action.help or ''}{choices}{needed}".strip()))
    yield from table(("argument or option", "default", "meaning"), rows)


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            yield from action.choices.items()


def _default(value: object) -> str:
    return "" if value in (None, False, (), [], "") or callable(value) else code(value)


def _paragraphs(text: str) -> str:
    return text.replace("\f", "").replace("<", "&lt;") if "`" not in text else text.replace("\f", "")
