"""`padserve eval` decodes what the worker serves, and each method and control is the formula that it is said to be.

The formulas are written out here, stream by stream, as PAD's paper has them: who proposes, and what is rewarded.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from domain.preferences import EffectivePreference, Principle
from domain.preferences import Method as Served
from evaluation import methods
from evaluation.methods import Arm
from evaluation.plan import EvaluatedModels
from evaluation.suite import Split, Suite, read_suite
from evaluation.tasks import Task, draw_tasks
from examples.evaluation.suite import write_demo_suite
from tests.tiny_model import write_tiny_model, write_tiny_policy
from worker.engine import Request, Stream
from worker.engine.streams import GuidedStream, StreamWeights, guided_streams
from worker.model.card import Card
from worker.texts.formats import PAD, SYSTEM, Format, Message, with_principles
from worker.texts.methods import POLICY_GUIDE, streams_of

Reward = tuple[str, str, float]
ASKED = [("policy", "asked", 1.0), ("reference", "asked", -1.0)]
FORMULAS: dict[Arm, tuple[str, str, list[Reward]]] = {
    methods.UNGUIDED: ("base", "nothing", []),
    methods.PROMPTED: ("base", "asked", []),
    methods.SAMPLED: ("base", "asked", []),
    methods.FEW_SHOT: ("base", "few-shot", []),
    methods.GUIDED: ("base", "asked", ASKED),
    methods.RANDOM_ADAPTER: ("base", "asked", ASKED),
    methods.GUIDED_UNPROMPTED: ("base", "nothing", [("policy", "asked", 1.0), ("reference", "nothing", -1.0)]),
    methods.NO_PREFERENCE: ("base", "nothing", [("policy", "nothing", 1.0), ("reference", "nothing", -1.0)]),
    methods.WRONG: ("base", "wrong", [("policy", "wrong", 1.0), ("reference", "wrong", -1.0)]),
    methods.POLICY_ALONE: ("policy", "asked", []),
    methods.CONTRAST: ("base", "asked", [("base", "asked", 1.0), ("base", "nothing", -1.0)]),
}
EVERY_METHOD = [value for value in vars(methods).values() if isinstance(value, Arm)]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    path = tmp_path_factory.mktemp("suite") / "suite.jsonl"
    write_demo_suite(path)
    return read_suite(path)


class Prompts:
    """An encoder that gives every conversation an id of its own."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __call__(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return (self._known.setdefault(json.dumps(messages), len(self._known)),)


def conversation(task: Task, says: str) -> list[Message]:
    asked = [Message(role="user", content=task.prompt.prompt)]
    if says == "nothing":
        return asked
    if says == "wrong":
        return with_principles(asked, (task.wrong,), PAD)
    earlier: list[Message] = []
    for principle, wording in zip(task.principles, task.wordings, strict=True):
        for example in principle.examples if says == "few-shot" else ():
            worded = wording.replace(task.values[principle.name], example.value) if example.value else wording
            earlier += with_principles([Message(role="user", content=example.prompt)], (worded,), PAD)
            earlier.append(Message(role="assistant", content=example.text))
    return [*earlier, *with_principles(asked, task.wordings, PAD)]


def written_out(method: Arm, task: Task, encode: Prompts, *, has_reference: bool) -> tuple[Stream, ...]:
    proposer, says, rewards = FORMULAS[method]
    streams = [(proposer, says, 0.0), *rewards]
    known = {"reference": "reference" if has_reference else "base"}
    return tuple(
        Stream(known.get(weights, weights), encode(conversation(task, says)), reward)
        for weights, says, reward in streams
    )


def run(streams: tuple[Stream, ...], strength: float = 0.7) -> tuple[GuidedStream, ...]:
    """What the engine runs of them, in its order."""
    loaded = {"base": StreamWeights(0), "policy": StreamWeights(0, adapter=1), "reference": StreamWeights(1)}
    return guided_streams(Request(0, streams, strength=strength, max_tokens=1), loaded)


@pytest.mark.parametrize("has_reference", [False, True])
@pytest.mark.parametrize("method", EVERY_METHOD, ids=lambda method: method.name)
def test_a_method_runs_the_streams_of_its_formula(suite: Suite, method: Arm, *, has_reference: bool) -> None:
    asked: list[tuple[str, ...]] = [(principle.name,) for principle in suite.principles]
    if method is not methods.GUIDED_UNPROMPTED:  # `mixture` weighs each principle by itself
        asked += suite.combinations
    encode = Prompts()

    for split in Split:
        for task in draw_tasks(suite, split, asked, seeds=[0, 1], num_prompts=5):
            ours = method.streams(task, encode, has_reference=has_reference)

            assert run(ours) == run(written_out(method, task, encode, has_reference=has_reference))


@pytest.mark.parametrize("shown", [PAD, SYSTEM], ids=lambda shown: shown.name)
def test_what_is_measured_is_what_is_served(suite: Suite, shown: Format) -> None:
    encode = Prompts()
    [task] = draw_tasks(suite, Split.TEST, [(suite.principles[0].name,)], seeds=[0], num_prompts=1)
    asked = [Message(role="user", content=task.prompt.prompt)]
    served = {
        served: streams_of(
            EffectivePreference(served, 1.0, tuple(map(Principle, task.wordings))), asked, encode, shown, POLICY_GUIDE
        )
        for served in Served
    }

    measured = {
        method.served: method.streams(task, encode, has_reference=False, format=shown)
        for method in (
            methods.UNGUIDED,
            methods.PROMPTED,
            methods.GUIDED,
            methods.GUIDED_UNPROMPTED,
            methods.CONTRAST,
        )
    }

    assert measured == served


def test_demonstrations_in_a_format_of_the_system_turn_leave_one_system_turn_in_front(suite: Suite) -> None:
    [task] = draw_tasks(suite, Split.TEST, [(suite.principles[0].name,)], seeds=[0], num_prompts=1)
    roles: list[str] = []

    def remember(messages: Sequence[Message]) -> tuple[int, ...]:
        roles.extend(message["role"] for message in messages)
        return (0,)

    methods.FEW_SHOT.streams(task, remember, has_reference=False, format=SYSTEM)

    assert roles == ["system", *["user", "assistant"] * len(task.principles[0].examples), "user"]


def test_principles_are_shown_as_the_card_says_that_the_policy_is_shown_them(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "base")
    write_tiny_policy(tmp_path / "policy", tmp_path / "base")
    models = EvaluatedModels(str(tmp_path / "base"), str(tmp_path / "policy"))
    without_card = models.format

    Card(format=SYSTEM).write(tmp_path / "policy")

    assert (without_card, models.format) == (PAD, SYSTEM)
