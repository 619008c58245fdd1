"""`padserve doctor`."""

import os

import typer

from padserve.cli.context import context_of
from padserve.cli.display import say, show_json
from padserve.cli.options import AsJson

SOMETHING_IS_WRONG = 1


def doctor(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Look at all that a stack needs, and say what to do; exit code 1 if something is wrong."""
    from padserve.stack.doctor import Finding, Health, examine

    given = context_of(context)
    findings: list[Finding] = []
    for finding in examine(given.settings, os.environ):
        findings.append(finding)
        if not as_json:
            say(given.answers, f"{finding.health:<5}  {finding.name:<10}  {finding.detail}")
            if finding.advice:
                say(given.answers, f"{'':19}{finding.advice}")
    if as_json:
        show_json(given.answers, findings)
    if any(finding.health is Health.WRONG for finding in findings):
        raise typer.Exit(SOMETHING_IS_WRONG)
