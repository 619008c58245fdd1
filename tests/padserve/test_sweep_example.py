"""The example that sweeps strength and budget, as it stands, against a running API."""

import re
from pathlib import Path

import pytest

from domain.attempts import Outcome
from examples import sweep
from tests.padserve.decoding_server import decoding
from tests.padserve.running_api import Server


@pytest.fixture
def folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADSERVE_URL", server.url)
    monkeypatch.setenv("PADSERVE_API_KEY", server.api_key)
    with server.client() as client:
        for user in ("ada", "bob"):
            client.profiles.put(user, principles=["playful"])
    return tmp_path


def test_every_setting_is_a_row_of_the_table_and_a_point_of_the_plot(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = iter(range(1, 99))

    def outcome(*args: object, **kwargs: object) -> Outcome:
        place = next(measured)
        return Outcome(*args, **kwargs)._replace(reward=float(place), kl=place / 100)  # type: ignore[arg-type]

    monkeypatch.setattr("tests.padserve.running_api.Outcome", outcome)
    with decoding(server):
        code = sweep.main(
            [
                *("Write a reminder.", "--user", "ada", "--user", "bob", "--max-kl", "0.2"),
                *("--strength", "0", "--strength", "1"),
            ]
        )

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [line[:3] for line in lines[1:]] == [["0", "none", "2"], ["1", "0.2", "2"], ["1", "none", "2"]]
    assert sorted(line[3] for line in lines[1:]) == ["1.500", "3.500", "5.500"], "means of two texts"
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    with server.client() as client:
        (job,) = client.jobs()
    assert job.counts.succeeded == 6


def test_without_matplotlib_there_is_the_table(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "find_spec", lambda _name: None)

    with decoding(server):
        code = sweep.main(["Hi", "--user", "ada"])

    output, errors = capsys.readouterr()
    assert (code, len(output.splitlines())) == (0, 7)
    assert "No plot: pip install matplotlib." in errors
    assert not (folder / "sweep.png").exists()


def test_what_is_wrong_is_told_in_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["Hi", "--user", "nobody"]) == 1

    assert re.search(r"\n  line 2, /user_id: There is no profile for this user", capsys.readouterr().err)


def test_each_prompt_and_user_has_one_seed_in_every_setting() -> None:
    items = list(sweep.items(["a", "b"], ["ada", "bob"], [(0.0, 1.0), (1.0, 1.0)]))

    seeds = {(item["prompt"], item["user_id"]): set[object]() for item in items}
    for item in items:
        seeds[item["prompt"], item["user_id"]].add(item["seed"])
    assert sorted(map(len, seeds.values())) == [1, 1, 1, 1]
    assert len({item["seed"] for item in items}) == 4
