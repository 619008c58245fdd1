"""The model card beside a trained adapter: what it was made from, with what, and how well it ranks."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "transformers", "peft", "trl")


def write_card(out: Path, base_name: str, settings: Mapping[str, object], results: Mapping[str, object]) -> None:
    """Writes `README.md`; replaces the one that peft leaves."""
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in {**settings, **results}.items())
    out.joinpath("README.md").write_text(
        f"""---
base_model: {base_name}
library_name: peft
---
# Personalised reward model (PersRM)

A LoRA adapter trained by DPO on pairs of answers to preference-conditioned prompts; the reference is the base model
with the adapter switched off. Its log-ratio to that reference is the token reward that steers decoding (PAD, arXiv
2410.04070).

| setting | value |
|---|---|
{rows}

Made with {versions}.
""",
        encoding="utf-8",
    )
