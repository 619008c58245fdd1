"""The guide's lines from two model paths to text, as they stand there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples" / "demo" / "model"


def test_the_guides_lines_from_two_paths_to_text_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "how-to" / "engine-alone.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    (block,) = (block for block in blocks if "load_engine" in block)
    code = block.replace("path/to/model", str(MODEL / "base")).replace("path/to/policy", str(MODEL / "policy"))

    exec(compile(code, "engine-alone.md", "exec"), {})  # noqa: S102 (this project's own lines)

    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) >= 2
    assert any("tea garden" in line for line in lines)
    assert all(len(line) > len("Be playful. Write a reminder about the tea garden.") for line in lines), (
        "some text each"
    )
