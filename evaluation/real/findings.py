"""What judges found of texts, kept on disk: a restart asks none of them twice. Knows no judge and no model."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluation.real.lines import whole_lines
from evaluation.real.writing import Text


@dataclass(frozen=True)
class Finding:
    """What judges say of a text that was written for a prompt."""

    key: str
    numbers: dict[str, float]
    """By judge."""
    topic: float
    profanity: float
    surprises: dict[str, float]
    """By the fingerprint of a model: -log p per token of the text as an answer to the prompt."""


class Findings:
    """By prompt and text, in a file of JSON lines; the last line of a key counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Finding] = {}
        for line in whole_lines(path):
            finding = Finding(**json.loads(line))
            self._known[finding.key] = finding

    def get(self, text: Text) -> Finding | None:
        """What is known of this text."""
        return self._known.get(key_of(text))

    def add(self, findings: Iterable[Finding]) -> None:
        """Keep them, instead of what was known of the same texts."""
        with self._path.open("a", encoding="utf-8") as file:
            for finding in findings:
                self._known[finding.key] = finding
                file.write(json.dumps(asdict(finding)) + "\n")


def key_of(text: Text) -> str:
    """A digest of prompt and text."""
    return hashlib.sha256(repr((text.asked.prompt.prompt, text.text)).encode()).hexdigest()[:20]
