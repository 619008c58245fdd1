"""The engine process dies, hangs or cannot start, and the supervisor deals with it. Real processes, a fake decoder."""

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TypeAlias

import psutil
import pytest

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.states import WorkerState
from tests.builders import some_pairs
from tests.fake_decoder import (
    load_and_die,
    load_as_written,
    load_echo,
    load_nothing,
    load_once_it_may,
    load_what_is_there,
)
from tests.system.processes import wait_until
from worker.supervision import supervisor as supervisor_module
from worker.supervision.protocol import Compared, DecoderUnavailableError, Ended
from worker.supervision.supervisor import GATHERING_SECONDS, EngineSupervisor, _Engine

JOB = uuid.uuid4()
Heard: TypeAlias = list[WorkerState]


def items(*prompts: str) -> list[ClaimedItem]:
    return [
        ClaimedItem(item_id, JOB, 1, [{"role": "user", "content": prompt}], {}, {})
        for item_id, prompt in enumerate(prompts)
    ]


@pytest.fixture
def supervisor() -> Iterator[EngineSupervisor]:
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=3)
    yield supervisor
    supervisor.stop()


@contextmanager
def a_supervisor_of(folder: Path, *, silence_seconds: float = 60) -> Iterator[tuple[EngineSupervisor, Heard]]:
    """Of an engine that loads once it may, and has loaded; and what is said of its state."""
    heard: Heard = []
    load = partial(load_once_it_may, str(folder))
    supervisor = EngineSupervisor(load, start_seconds=60, silence_seconds=silence_seconds, on_state=heard.append)
    try:
        supervisor.start()
        yield supervisor, heard
    finally:
        supervisor.stop()


def engine_named_in(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "pid").read_text()))


def decode(supervisor: EngineSupervisor, given: Sequence[ClaimedItem], seconds: float = 90) -> dict[int, Outcome]:
    supervisor.submit(given)
    outcomes: dict[int, Outcome] = {}
    deadline = time.monotonic() + seconds
    while supervisor.num_items and time.monotonic() < deadline:
        for outcome in supervisor.poll(0.1):
            assert outcome.item_id not in outcomes, "an outcome came twice"
            outcomes[outcome.item_id] = outcome
    return outcomes


def test_items_come_back_as_outcomes(supervisor: EngineSupervisor) -> None:
    outcomes = decode(supervisor, items("a", "refuse", "fail", "b"))

    assert [outcomes[number].text for number in range(4)] == ["a", None, None, "b"]
    assert outcomes[1].error_code == "prompt_too_long"
    assert outcomes[2].error_code == "non_finite_logits"


@pytest.mark.usefixtures("forked_engines")
def test_a_poisoned_item_fails_alone(supervisor: EngineSupervisor) -> None:
    outcomes = decode(supervisor, items("a", "kill", "b", "c"))

    assert outcomes[1].error_code == "poisoned"
    assert [outcomes[number].text for number in (0, 2, 3)] == ["a", "b", "c"]


def test_an_engine_that_is_killed_once_loses_nothing(supervisor: EngineSupervisor, tmp_path: Path) -> None:
    outcomes = decode(supervisor, items("a", f"once:{tmp_path / 'killed'} kill", "b"))

    assert (tmp_path / "killed").exists()
    assert [outcome.error_code for outcome in outcomes.values()] == [None, None, None]
    assert len(outcomes) == 3


@pytest.mark.usefixtures("forked_engines")
def test_what_the_engine_was_decoding_when_it_died_is_told_once(supervisor: EngineSupervisor, tmp_path: Path) -> None:
    decode(supervisor, items("a", f"once:{tmp_path / 'killed'} kill", "b"))

    deaths = supervisor.take_deaths()

    assert Attempt(1, 1) in deaths
    assert deaths <= {Attempt(1, 1), Attempt(0, 1), Attempt(2, 1)}
    assert supervisor.take_deaths() == set()


@pytest.mark.usefixtures("forked_engines")
def test_an_engine_that_hangs_is_killed_and_its_items_decoded_again(
    supervisor: EngineSupervisor, tmp_path: Path
) -> None:
    outcomes = decode(supervisor, items("a", f"once:{tmp_path / 'hung'} hang"))

    assert (tmp_path / "hung").exists()
    assert sorted(outcomes) == [0, 1]
    assert all(outcome.error_code is None for outcome in outcomes.values())


@pytest.mark.usefixtures("forked_engines")
def test_a_cancelled_item_gives_no_outcome(supervisor: EngineSupervisor) -> None:
    supervisor.start()
    supervisor.submit(items("slow", "slow", "slow"))
    supervisor.cancel([Attempt(1, 1)])

    outcomes = decode(supervisor, [])

    assert sorted(outcomes) == [0, 2]


def test_a_decoder_that_cannot_be_loaded_is_named_with_its_reason() -> None:
    supervisor = EngineSupervisor(load_nothing, start_seconds=60, silence_seconds=5)

    with pytest.raises(DecoderUnavailableError, match="set PADSERVE_MODEL"):
        supervisor.start()


@pytest.mark.usefixtures("forked_engines")
def test_an_engine_that_has_loaded_may_die_as_often_again_while_it_loads(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("die die load die die load")
    supervisor = EngineSupervisor(partial(load_as_written, str(script)), start_seconds=60, silence_seconds=30)
    try:
        supervisor.start()
        outcomes = decode(supervisor, items(f"once:{tmp_path / 'killed'} kill"))
    finally:
        supervisor.stop()

    assert [outcome.error_code for outcome in outcomes.values()] == [None]
    assert script.read_text() == ""


def test_no_signal_that_reaches_the_whole_group_ends_the_engine(tmp_path: Path) -> None:
    with a_supervisor_of(tmp_path) as (supervisor, heard):
        engine = engine_named_in(tmp_path)
        for number in (signal.SIGINT, signal.SIGTERM):
            engine.send_signal(number)

        outcomes = decode(supervisor, items("a", "b"), seconds=20)

        assert [outcome.text for outcome in outcomes.values()] == ["a", "b"]
        assert (engine_named_in(tmp_path), heard) == (engine, [WorkerState.READY])


@pytest.mark.usefixtures("forked_engines")
def test_an_engine_that_always_dies_while_loading_is_given_up() -> None:
    supervisor = EngineSupervisor(load_and_die, start_seconds=60, silence_seconds=5)

    with pytest.raises(DecoderUnavailableError, match="died 3 times while it loaded"):
        supervisor.start()


def test_an_engine_that_is_still_loading_ends_with_its_supervisor(tmp_path: Path) -> None:
    # It used to look at its pipe only once the model was there: a killed worker left it loading, the device with it.
    program = f"""
from contextlib import contextmanager
from functools import partial
from domain.states import WorkerState
from tests.fake_decoder import load_slowly
from worker.supervision.supervisor import EngineSupervisor
supervisor = EngineSupervisor(partial(load_slowly, {str(tmp_path / "pid")!r}), start_seconds=60, silence_seconds=60)
supervisor.start()
"""
    worker = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until((tmp_path / "pid").exists, 30, "the engine is loading")
    finally:
        worker.kill()
        worker.wait()

    engine = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(engine), 10, "the engine has ended")


@pytest.mark.usefixtures("forked_engines")
def test_an_engine_that_comes_back_with_another_model_decodes_nothing(tmp_path: Path) -> None:
    """Somebody has written another checkpoint into the folder while the worker ran."""
    identity = tmp_path / "identity"
    identity.write_text("a" * 64)
    supervisor = EngineSupervisor(partial(load_what_is_there, str(identity)), start_seconds=60, silence_seconds=3)
    described = supervisor.start()
    identity.write_text("b" * 64)

    with pytest.raises(DecoderUnavailableError, match="files have changed"):
        decode(supervisor, items("kill", "fine"))

    assert described.digest == "a" * 64
    supervisor.stop()


def test_what_the_engine_said_before_it_died_is_kept_and_its_death_not_held_against_it(
    supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes that were read just before the end of the pipe were dropped with it, and the items decoded again."""
    monkeypatch.setenv("PADSERVE_FAULT", "after_tell:kill@1")

    outcomes = decode(supervisor, items("a", "b"))

    assert {number: outcome.text for number, outcome in outcomes.items()} == {0: "a", 1: "b"}
    assert Attempt(0, 1) not in supervisor.take_deaths()


def test_an_engine_that_dies_while_it_has_nothing_to_do_is_begun_anew_before_there_is_work(tmp_path: Path) -> None:
    with a_supervisor_of(tmp_path) as (supervisor, heard):
        first = engine_named_in(tmp_path)
        first.kill()
        watched_until(supervisor, lambda: heard == [WorkerState.READY, WorkerState.LOADING])
        (tmp_path / "may").touch()
        watched_until(supervisor, lambda: len(heard) == 3)

        assert heard[-1] is WorkerState.READY
        assert engine_named_in(tmp_path) != first
        assert decode(supervisor, items("a"))[0].text == "a"
        assert supervisor.take_deaths() == set()


def test_work_that_comes_before_an_idle_engines_death_is_noticed_is_not_held_to_have_caused_it(tmp_path: Path) -> None:
    (tmp_path / "may").touch()
    with a_supervisor_of(tmp_path) as (supervisor, _):
        engine = engine_named_in(tmp_path)
        engine.kill()
        wait_until(lambda: engine.status() == psutil.STATUS_ZOMBIE, 30, "it has died")

        outcomes = decode(supervisor, items("a", "b"))

        assert sorted(outcomes) == [0, 1]
        assert supervisor.take_deaths() == set()


def test_an_engine_that_falls_silent_while_it_has_nothing_to_do_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "may").touch()
    with a_supervisor_of(tmp_path, silence_seconds=3) as (supervisor, heard):
        engine_named_in(tmp_path).suspend()
        for _ in range(100):  # it may have said something right before it stood still
            if WorkerState.LOADING not in heard:
                supervisor.watch(1)
        watched_until(supervisor, lambda: heard == [WorkerState.READY, WorkerState.LOADING, WorkerState.READY])

        assert decode(supervisor, items("a"))[0].text == "a"


def watched_until(supervisor: EngineSupervisor, condition: Callable[[], bool]) -> None:
    def watched() -> bool:
        supervisor.watch(0)
        return condition()

    wait_until(watched, 90, "the engine is watched")


class _Pipe:
    """Gives what was said; None among it is nothing for who looks at once, and a wait for who has patience."""

    def __init__(self, *said: Ended | Compared | None) -> None:
        self._said = deque(said)
        self.patience: list[float] = []

    def poll(self, seconds: float) -> bool:
        self.patience.append(seconds)
        if self._said and self._said[0] is None:
            self._said.popleft()
            return bool(seconds and self._said)
        return bool(self._said)

    def say(self, report: Ended) -> None:
        self._said.append(report)

    def recv(self) -> Ended | Compared | None:
        return self._said.popleft()

    def send(self, command: object) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing is open."""


def test_outcomes_of_the_next_steps_are_taken_with_the_first_and_not_waited_for_longer() -> None:
    first, second = Ended((_ended(1),)), Ended((_ended(2),))
    pipe = _Pipe(first, None, second)
    engine = _engine(pipe)

    assert [*engine.reports(30.0)] == [first, second]
    assert pipe.patience[0] == 30.0
    assert all(0 <= seconds <= GATHERING_SECONDS for seconds in pipe.patience[1:])


def test_nothing_is_waited_for_once_the_engine_owes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = _Pipe(Ended((_ended(0),)), Ended((_ended(7),)))
    supervisor = _supervisor_of(_engine(pipe), monkeypatch)
    supervisor.submit(items("a"))

    outcomes = supervisor.poll(30)

    assert [outcome.item_id for outcome in outcomes] == [0]
    assert pipe.patience == [30]


def test_what_was_told_of_a_cancelled_item_before_the_engine_knew_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = _Pipe()
    supervisor = _supervisor_of(_engine(pipe), monkeypatch)
    supervisor.submit(items("a", "b"))
    supervisor.poll(0)

    supervisor.cancel([Attempt(1, 1)])
    pipe.say(Ended((_ended(0), _ended(1))))

    assert [outcome.item_id for outcome in supervisor.poll(30)] == [0]


def test_an_answer_to_a_question_that_was_given_up_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = _Pipe(None, Compared(0, ((9.0,),)), Compared(1, ((1.0,),)))
    supervisor = _supervisor_of(_engine(pipe), monkeypatch)

    assert supervisor.compare(some_pairs(1), ["formal"], lambda: None) == [(1.0,)]


def test_what_a_silent_engine_said_at_the_last_moment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(_Pipe(None, Ended((_ended(0),))))
    engine.silent_seconds = 61
    supervisor = _supervisor_of(engine, monkeypatch)
    supervisor.submit(items("a", "b"))

    outcomes = supervisor.poll(0)

    assert [outcome.item_id for outcome in outcomes] == [0]
    assert supervisor.take_deaths() == {Attempt(1, 1)}


def test_an_engine_that_is_killed_in_the_middle_of_a_word_is_a_dead_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report longer than the pipe is written in parts: its broken end was no end of the pipe, and ended the turn."""
    ours, theirs = multiprocessing.Pipe()
    theirs.send(Ended((_ended(0),)))
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"Te")
    theirs.close()
    supervisor = _supervisor_of(_engine(ours), monkeypatch)
    supervisor.submit(items("a", "b"))

    outcomes = supervisor.poll(30)

    assert [outcome.item_id for outcome in outcomes] == [0]
    assert supervisor.take_deaths() == {Attempt(1, 1)}


def _supervisor_of(engine: _Engine, monkeypatch: pytest.MonkeyPatch) -> EngineSupervisor:
    monkeypatch.setattr(supervisor_module, "_Engine", lambda _: engine)
    return EngineSupervisor(load_nothing, start_seconds=60, silence_seconds=60)


def _engine(connection: object) -> _Engine:
    """An engine that is ready, on this pipe, and has no process."""
    engine = object.__new__(_Engine)
    process = {"exitcode": 0, "is_alive": lambda: True}
    process |= {name: lambda *_: None for name in ("join", "kill", "close")}
    vars(engine).update(_connection=connection, _process=SimpleNamespace(**process), ready=True, silent_seconds=0.0)
    return engine


def _ended(item_id: int) -> Outcome:
    return Outcome(item_id, 1, text="Tea", finish_reason="stop")
