"""What is asked in languages whose words a guide cuts otherwise: each prompt with each principle, always the same."""

from evaluation.real.other_bases.by_language import NUM_PRINCIPLES, tasks_in
from evaluation.real.other_bases.languages import ASKED_IN
from evaluation.real.suite import read_suite


def test_every_prompt_of_a_language_is_asked_with_each_of_the_first_principles() -> None:
    principles = {principle.name for principle in read_suite().principles[:NUM_PRINCIPLES]}

    for language, prompts in ASKED_IN.items():
        tasks = tasks_in(language)
        asked = {(task.prompt.prompt, task.principle.name) for task in tasks}
        assert asked == {(prompt, name) for prompt in prompts for name in principles}
        assert len(tasks) == len(asked)
