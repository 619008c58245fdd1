"""What the engine's process says, and when: the first outcome at once, and those of quick steps together."""

import queue
from collections.abc import Sequence
from unittest.mock import patch

import pytest

from domain.attempts import Attempt, Outcome
from tests.fake_decoder import EchoDecoder
from tests.worker.supervision.test_supervisor import items
from worker.supervision import engine_process
from worker.supervision.engine_process import _Loop
from worker.supervision.protocol import Beat, Cancel, Command, Decode, Ended, Stop


class _Ear:
    """The supervisor's end of the pipe."""

    def __init__(self) -> None:
        self.heard: list[list[int]] = []
        """The items of each message that told of some."""

    def send(self, report: object) -> None:
        if isinstance(report, Ended):
            self.heard.append([outcome.item_id for outcome in report.outcomes])


class _Told(EchoDecoder):
    """Is told something more in the middle of its steps."""

    def __init__(self, commands: "queue.SimpleQueue[Command]", after: dict[int, Sequence[Command]]) -> None:
        super().__init__()
        self._commands = commands
        self._after = after
        self._num_steps_made = 0

    def step(self) -> Sequence[Outcome]:
        outcomes = super().step()
        self._num_steps_made += 1
        for command in self._after.get(self._num_steps_made, ()):
            self._commands.put(command)
        return outcomes


@pytest.fixture(autouse=True)
def _quick_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(engine_process, "GATHERING_SECONDS", 3600)


def heard(after: dict[int, Sequence[Command]]) -> list[list[int]]:
    """What is told of four items, one a step."""
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    commands.put(Decode(tuple(items(*"abcd"))))
    ear = _Ear()
    _Loop(ear, commands, _Told(commands, after)).run()  # type: ignore[arg-type] # the one method of a connection it uses
    return ear.heard


def test_the_first_outcome_is_told_at_once_and_those_of_quick_steps_together_with_the_last() -> None:
    assert heard({4: [Stop()]}) == [[0], [1, 2, 3]]


def test_nothing_that_has_ended_waits_for_what_was_taken_away() -> None:
    assert heard({2: [Cancel((Attempt(2, 1), Attempt(3, 1))), Stop()]}) == [[0], [1]]


def test_a_step_that_fails_takes_nothing_from_what_has_ended() -> None:
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    commands.put(Decode(tuple(items(*"abcd"))))
    ear, decoder = _Ear(), EchoDecoder()
    ended = [decoder.add(item) or decoder.step() for item in items(*"ab")]

    with patch.object(decoder, "step", side_effect=[*ended, RuntimeError]), pytest.raises(RuntimeError):
        _Loop(ear, commands, decoder).run()  # type: ignore[arg-type] # as above

    assert ear.heard == [[0], [1]]


def test_an_engine_without_work_says_now_and_then_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "BEAT_SECONDS", 0.001)
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()

    class Ear:
        def send(self, report: object) -> None:
            assert isinstance(report, Beat)
            commands.put(Stop())

    _Loop(Ear(), commands, EchoDecoder()).run()  # type: ignore[arg-type] # as above; it would never end in silence
