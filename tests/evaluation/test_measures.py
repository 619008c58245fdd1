"""What is found in texts: principles with values are judged for the value that was asked for, and by rules alone."""

import pytest

from evaluation.measures import Judged, Measured, Rules, is_single_seen, summarise
from evaluation.methods import PROMPTED
from evaluation.suite import Prompt, Suite, SuitePrinciple
from evaluation.tasks import Task
from evaluation.writing import Text, Writing

SHORT = SuitePrinciple.model_validate(
    {"type": "principle", "name": "short", "wordings": ["be short"], "rule": {"max_words": 3}}
)
MENTION = SuitePrinciple.model_validate(
    {
        "type": "principle",
        "name": "mention",
        "wordings": ["mention {value}"],
        "rule": {"contains_any": ["{value}"]},
        "values": ["tea", "rum"],
    }
)
SUITE = Suite("", (), (SHORT, MENTION), (), ())


def a_task(principle: SuitePrinciple, value: str) -> Task:
    prompt = Prompt(type="prompt", prompt="Write.")
    return Task(prompt, (principle,), principle.wordings, wrong="", seed=0, values={"mention": value})


def measured(*rows: tuple[Task, str]) -> Measured:
    texts = tuple(Text(task, text, (1, 2), None) for task, text in rows)
    return Rules(SUITE, judge=None).measure(Writing(PROMPTED, texts, num_tokens=4, seconds=1.0))


def test_a_text_keeps_a_principle_for_the_value_of_its_task() -> None:
    found = measured((a_task(MENTION, "tea"), "Some tea."), (a_task(MENTION, "rum"), "Some tea."))

    assert [row.satisfied for row in found.texts] == [True, False]
    assert [row.kept for row in found.texts] == [{"short", "mention"}, {"short"}]


def test_a_judge_has_no_say_where_there_are_values() -> None:
    """A text alone does not tell which value was asked for: counting it would have made every method look bad."""
    nothing, everything = frozenset[str](), frozenset({"short", "mention"})
    rows = tuple(
        Judged(Text(a_task(principle, "tea"), "Some tea.", (1,), None), kept=everything, judged=judged)
        for principle, judged in ((SHORT, everything), (MENTION, nothing))
    )
    found = Measured("guided", rows, num_tokens=2, seconds=1.0)

    summary = summarise(found, found)

    assert [row.has_judgement for row in rows] == [True, False]
    assert summary.seen_for_judge is not None
    assert summary.seen_for_judge.mean == 1.0
    assert summary.seen is not None
    assert summary.seen.mean == 1.0


@pytest.mark.parametrize("principle", [SHORT, MENTION], ids=lambda principle: principle.name)
def test_without_a_judge_nothing_is_said_of_it(principle: SuitePrinciple) -> None:
    found = measured((a_task(principle, "tea"), "Some tea."))

    assert summarise(found, found).seen_for_judge is None
    assert found.satisfied(is_single_seen).values == [1.0]
