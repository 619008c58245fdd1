"""What the quickstart and the guides tell people to type works, as it stands there."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.core import TyperOption

from docs.extension.cli_page import HANDED_ON, commands
from tests.docs.blocks import GUIDES, ROOT, Block, blocks_of
from tests.padserve.local_stack import REAL, SECONDS, LocalStack
from tests.system.processes import wait_until

DEMO_MODEL = ROOT / "examples" / "demo" / "model"
SHOWN_URL = "127.0.0.1:8000"
SHOWN_KEY = "pad_..."
BASH = "/bin/bash"
BLOCKS = [block for page in GUIDES for block in blocks_of(page) if block.language in {"bash", "python"}]
ONLY_READ = [block for block in BLOCKS if not block.is_run]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """The server that `make up` would start, in a folder where people would be."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    models = {"MODEL": str(DEMO_MODEL / "base"), "POLICY": str(DEMO_MODEL / "policy")}
    stack = LocalStack(tmp_path / ".padserve", REAL, **models)
    try:
        stack.read_until("docs page")
        wait_until(lambda: httpx.get(f"{_url(stack)}/readyz").is_success, SECONDS, "a worker that decodes")
        yield stack
    finally:
        stack.process.terminate()
        stack.end()


@pytest.mark.timeout(900)
def test_every_block_of_the_guides_that_can_run_here_runs(stack: LocalStack) -> None:
    address = _url(stack).removeprefix("http://")
    key = (stack.home / "api_key").read_text().strip()

    failed: dict[str, str] = {}
    for page in GUIDES:
        script = _script([block for block in BLOCKS if block.page == page and block.is_run])
        if script:
            told = script.replace(SHOWN_URL, address).replace(SHOWN_KEY, key)
            failed |= _run(told, stack)

    assert not failed, "\n".join(f"{name}\n{output}" for name, output in failed.items())


@pytest.mark.parametrize("block", ONLY_READ, ids=lambda block: block.name)
def test_a_block_that_is_not_run_is_well_formed_and_names_what_there_is(block: Block) -> None:
    if block.language == "python":
        compile(block.text, block.name, "exec")
        return

    read = subprocess.run([BASH, "-n"], input=block.text, capture_output=True, text=True, check=False)
    unknown = [line for line in _command_lines(block.text) if _unknown(line)]

    assert read.returncode == 0, read.stderr
    assert not unknown


def _url(stack: LocalStack) -> str:
    return (stack.home / "url").read_text().strip()


def _script(blocks: list[Block]) -> str:
    """A page's blocks as one script, so that a variable of one is known in the next; it says which one it is at."""
    parts = []
    for block in blocks:
        text = block.text if block.language == "bash" else f"python - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON\n"
        parts.append(f"BLOCK={shlex.quote(block.name)}\n{text}")
    head = "set -Eeuo pipefail\ntrap 'echo \"failed in $BLOCK: $BASH_COMMAND\"' ERR\n"
    return head + "".join(parts) if parts else ""


def _run(script: str, stack: LocalStack) -> dict[str, str]:
    """Nothing, or the name of the page and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PADSERVE_")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [BASH, "-c", script],
        cwd=stack.home.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return {ended.stdout[-300:].strip().rpartition("\n")[2]: ended.stdout[-3000:]} if ended.returncode else {}


def _command_lines(text: str) -> Iterator[list[str]]:
    """The words of each `padserve ...` in a script."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and ("=" in words[0] or words[0] == "export"):
            words = words[1:]
        if words[:1] == ["padserve"]:
            ends = [place for place, word in enumerate(words) if word in {"|", "&&", "&", ";"}]
            yield words[: min(ends, default=len(words))]


def _unknown(words: list[str]) -> list[str]:
    """What of a command line there is not: its command, or some of its options."""
    known = dict(commands())
    length = max(n for n in range(1, len(words) + 1) if " ".join(words[:n]) in known)
    name = " ".join(words[:length])
    if name in HANDED_ON:
        flags = {flag for action in HANDED_ON[name]()._actions for flag in action.option_strings}  # noqa: SLF001 - argparse has no public way
    else:
        flags = {flag for option in known[name].params if isinstance(option, TyperOption) for flag in option.opts}
    is_group = bool(getattr(known[name], "commands", {}))
    return [word for word in words[length:] if (word.startswith("-") and word not in flags) or is_group]
