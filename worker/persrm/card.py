"""The model card beside a trained policy: what it was made from, with what, and how well it ranks."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

from worker.persrm.pairs import PreferencePair

MAX_PRINCIPLES_SHOWN = 40
_LIBRARIES = ("torch", "transformers", "peft", "trl")


@dataclass(frozen=True)
class Data:
    """How many pairs were trained on and held out, their digest and their principles, as the model card states them."""

    num_training: int
    num_held_out: int
    digest: str
    """SHA-256 over the pairs in the order in which they were used."""
    principles: tuple[tuple[str, int], ...]
    """The training pairs of each, the most frequent first."""

    @classmethod
    def of(cls, training: Sequence[PreferencePair], held_out: Sequence[PreferencePair]) -> Self:
        """Count the pairs and their principles, and digest them in the order given."""
        digest = hashlib.sha256()
        for pair in (*training, *held_out):
            digest.update(pair.model_dump_json().encode() + b"\n")
        counts = Counter(principle for pair in training for principle in pair.principles)
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return cls(len(training), len(held_out), digest.hexdigest(), tuple(ordered))


def write_card(
    out: Path,
    base_name: str,
    data: Data,
    settings: Mapping[str, object],
    accuracies: Mapping[str, float],
) -> None:
    """Writes `README.md`; replaces the one that peft leaves."""
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    rows = {
        "training pairs": data.num_training,
        "held-out pairs": data.num_held_out,
        "pairs, SHA-256": data.digest,
        **{name.replace("_", " "): value for name, value in settings.items()},
        **{f"held-out pairs ranked correctly, {stage}": f"{share:.1%}" for stage, share in accuracies.items()},
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    out.joinpath("README.md").write_text(
        f"""---
base_model: {base_name}
library_name: peft
---
# Personalised reward model (PersRM)

A LoRA adapter trained by DPO on pairs of answers to preference-conditioned prompts; the reference is the base model
with the adapter switched off.{_VALUE_HEAD if len(accuracies) > 1 else ""} Its log-ratio to that reference is the token
reward that steers decoding (PAD, arXiv 2410.04070).

| setting | value |
|---|---|
{table}

Training pairs per principle: {_principles(data)}.

Made with {versions}.
""",
        encoding="utf-8",
    )


_VALUE_HEAD = """ `value_head.safetensors` holds the d x d matrix between last hidden state and vocabulary
head, trained in a second stage with everything else frozen."""


def _principles(data: Data) -> str:
    shown = [f"{name} {count}" for name, count in data.principles[:MAX_PRINCIPLES_SHOWN]]
    num_left = len(data.principles) - len(shown)
    return ", ".join(shown) + (f" and {num_left} more" if num_left else "")
