import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from evaluation.methods import FEW_SHOT
from evaluation.suite import MalformedSuiteError, Split, SuitePrinciple, read_suite
from evaluation.tasks import Task, draw_tasks
from worker.texts.formats import Message

PRINCIPLE: dict[str, object] = {
    "type": "principle",
    "name": "short",
    "wordings": ["be short", "keep it brief"],
    "rule": {"max_words": 5},
}
MENTION: dict[str, object] = {
    "type": "principle",
    "name": "mention",
    "wordings": ["mention {value}"],
    "rule": {"contains_any": ["{value}"]},
    "values": ["tea", "milk"],
    "examples": [{"prompt": "Write.", "text": "Tea.", "value": "tea"}],
}
LONG = PRINCIPLE | {"name": "long", "rule": {"min_words": 9}, "seen": False}
PROMPT: dict[str, object] = {"type": "prompt", "prompt": "Write about tea.", "topic": ["tea"]}
VALIDATION = PROMPT | {"split": "validation"}


def write_lines(folder: Path, *lines: object) -> Path:
    path = folder / "suite.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def few_shot(task: Task) -> list[Message]:
    """The conversation that the few-shot control shows."""
    seen: list[Message] = []

    def remember(messages: Sequence[Message]) -> tuple[int, ...]:
        seen.extend(messages)
        return (len(messages),)

    FEW_SHOT.streams(task, remember, has_reference=False)
    return seen


def test_a_suite_is_read_whatever_the_order_of_its_lines(tmp_path: Path) -> None:
    combination = {"type": "combination", "principles": ["short", "long"]}
    opposites = {"type": "opposites", "principles": ["short", "long"]}
    about = {"type": "about", "text": "Tea."}
    path = write_lines(tmp_path, combination, opposites, PROMPT, "", VALIDATION, PRINCIPLE, LONG, about)

    suite = read_suite(path)

    assert suite.about == "Tea."
    assert [prompt.split for prompt in suite.prompts] == [Split.TEST, Split.VALIDATION]
    assert (suite.names(seen=True), suite.names(seen=False)) == (("short",), ("long",))
    assert (suite.combinations, suite.opposites) == ((("short", "long"),), (("short", "long"),))
    assert suite.prompts[0].is_carried_by("A cup of Tea.")
    assert not suite.prompts[0].is_carried_by("A team.")


def test_a_byte_order_mark_is_no_part_of_a_suite(tmp_path: Path) -> None:
    path = write_lines(tmp_path, PRINCIPLE, PROMPT, VALIDATION)
    plain = read_suite(path)

    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert read_suite(path) == plain


def test_a_suite_in_another_encoding_is_said_to_be_one(tmp_path: Path) -> None:
    path = write_lines(tmp_path, PRINCIPLE, PROMPT, VALIDATION)
    path.write_text(path.read_text("utf-8"), encoding="utf-16")

    with pytest.raises(MalformedSuiteError, match="it is not text in UTF-8"):
        read_suite(path)


def test_every_malformed_line_is_named_with_its_number_and_reason(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path,
        PROMPT,
        "{not json",
        PRINCIPLE | {"rule": {}},
        PRINCIPLE,
        PROMPT | {"type": "poem"},
        PROMPT | {"colour": "blue"},
        PRINCIPLE,
    )

    with pytest.raises(MalformedSuiteError) as caught:
        read_suite(path)

    assert [number for number, _ in caught.value.problems] == [2, 3, 5, 6, 7]
    assert "line 3: principle.rule: Value error, a rule has exactly one of" in str(caught.value)
    assert "line 7: principle 'short' is there twice" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"values": ()},
        {"wordings": ["mention {value}", "mention it"]},
        {"rule": {"contains_any": ["tea"]}},
        {"examples": [{"prompt": "Tea?", "text": "Tea."}]},
    ],
    ids=["no values", "wording", "rule", "example"],
)
def test_values_need_a_place_in_every_wording_and_in_the_rule(change: dict[str, object]) -> None:
    SuitePrinciple.model_validate(MENTION)

    with pytest.raises(ValidationError, match=r"value.*; without values, none does"):
        SuitePrinciple.model_validate(MENTION | change)


def test_a_principle_with_values_is_worded_and_checked_with_one_of_them() -> None:
    mention = SuitePrinciple.model_validate(MENTION)

    assert mention.check("tea")("A cup of tea.")
    assert not mention.check("milk")("A cup of tea.")
    assert mention.says("mention milk")
    assert not mention.says("mention rum")


def test_what_no_line_shows_alone_is_named_too(tmp_path: Path) -> None:
    path = write_lines(tmp_path, PROMPT, PRINCIPLE, {"type": "combination", "principles": ["short", "blue"]})

    with pytest.raises(MalformedSuiteError) as caught:
        read_suite(path)

    assert caught.value.problems == ((None, "the suite has no validation prompt"), (3, "there is no principle 'blue'"))


def test_a_seed_draws_prompts_and_wordings_and_the_same_ones_again(tmp_path: Path) -> None:
    prompts = [PROMPT | {"prompt": f"Write about {number}."} for number in range(20)]
    suite = read_suite(write_lines(tmp_path, PRINCIPLE, LONG, VALIDATION, *prompts))

    tasks = draw_tasks(suite, Split.TEST, [("short",), ("long",)], seeds=[0, 1], num_prompts=10)
    again = draw_tasks(suite, Split.TEST, [("short",), ("long",)], seeds=[0, 1], num_prompts=10)

    assert tasks == again
    assert [task.asked for task in tasks] == (["short"] * 10 + ["long"] * 10) * 2
    assert {task.prompt for task in tasks[:10]} == {task.prompt for task in tasks[10:20]}
    assert {task.prompt for task in tasks[:10]} != {task.prompt for task in tasks[20:30]}
    assert {task.wordings for task in tasks} == {("be short",), ("keep it brief",)}
    assert all(task.prompt.split is Split.TEST for task in tasks)


def test_fewer_prompts_are_the_first_of_more_and_asked_alike(tmp_path: Path) -> None:
    prompts = [PROMPT | {"prompt": f"Write about {number}."} for number in range(20)]
    suite = read_suite(write_lines(tmp_path, PRINCIPLE, MENTION, VALIDATION, *prompts))

    many = draw_tasks(suite, Split.TEST, [("mention",)], seeds=[0, 1], num_prompts=10)
    few = draw_tasks(suite, Split.TEST, [("mention",)], seeds=[0, 1], num_prompts=4)

    assert few == many[:4] + many[10:14]
    assert len({task.prompt for task in many}) == 20


def test_a_task_says_its_value_where_it_asks_for_it_and_in_its_examples_theirs(tmp_path: Path) -> None:
    prompts = [PROMPT | {"prompt": f"Write about {number}."} for number in range(20)]
    suite = read_suite(write_lines(tmp_path, PRINCIPLE, MENTION, VALIDATION, *prompts))

    for task in draw_tasks(suite, Split.TEST, [("mention",)], seeds=[0], num_prompts=20):
        first, answer, last = few_shot(task)

        assert task.wordings == (f"mention {task.values['mention']}",)
        assert "mention tea " in first["content"]
        assert answer["content"] == "Tea."
        assert f"mention {task.values['mention']} " in last["content"]
        assert task.wrong in {"be short", "keep it brief"}
    for task in draw_tasks(suite, Split.TEST, [("short",)], seeds=[0], num_prompts=20):
        assert task.wrong == f"mention {task.values['mention']}"
